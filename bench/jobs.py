"""The ratings job in Millstream and in Kafka Streams, and what is read off a run of it."""

import json, os, re, shutil, subprocess, time
from dataclasses import dataclass
from pathlib import Path

from harness import BOOTSTRAP, JAVA, MOVIE, PARTITIONS, RATING, ROOT, Counted, Process, http, metric, register, until

# Longest wait for one run.
PATIENCE_S = 1_200


@dataclass(frozen=True)
class Workload:
    """Ratings over movies; `suffix` ends the topics' names."""

    suffix: str
    title: str
    movies: int
    zipf_percent: int
    ratings: int
    partitions: int = PARTITIONS

    def topic(self, name):
        return f"{name}{self.suffix}"


class Jobs:
    def __init__(self, work, tools, registry):
        self.work, self.tools, self.registry = work, tools, registry
        self.count = 0
        self.schema_ids = {}

    def fresh(self, name):
        self.count += 1
        path = self.work / f"{name}-{self.count}"
        path.mkdir()
        return path

    def load(self, job):
        """Topics, schemas, movies and ratings."""
        ids = [register(self.registry, f"{job.topic(n)}-value", *s) for n, s in (("movies", ("Movie", MOVIE)), ("ratings", ("Rating", RATING)))]
        self.schema_ids[job.suffix] = ids
        names = ",".join(job.topic(name) for name in ("movies", "ratings", "peer-rated"))
        self.tools.drive("topics", BOOTSTRAP, job.partitions, names)
        self.tools.drive("movies", BOOTSTRAP, job.topic("movies"), job.movies, ids[0])
        self.load_ratings(job, job.ratings)

    def load_ratings(self, job, count, rate=0):
        if count:
            self.tools.drive("ratings", *self.ratings_arguments(job, count, rate))

    def ratings_arguments(self, job, count, rate):
        return (BOOTSTRAP, job.topic("ratings"), count, job.movies, job.zipf_percent, self.schema_ids[job.suffix][1], rate)

    def limit(self, job):
        """The client library alone."""
        return self.tools.drive("limit", BOOTSTRAP, job.topic("ratings"), job.ratings)

    def sql(self, job, app, data):
        folder = data / "sql"
        folder.mkdir(exist_ok=True)
        text = (ROOT / "bench/topologies/bench.sql").read_text().replace("SUFFIX", job.suffix)
        (folder / "bench.sql").write_text(re.sub(r"KAFKA_TOPIC = 'rated[^']*'", f"KAFKA_TOPIC = '{self.rated(job, app)}'", text))
        return folder

    def rated(self, job, app):
        return f"{job.topic('rated')}-{app}"

    def start(self, folder, app, data, commit_ms, *more, under=()):
        """`millstream run`: the process and its address."""
        command = [*under, self.tools.millstream, "run", "--bootstrap-servers", BOOTSTRAP, "--schema-registry", self.registry, "--topologies", folder]
        command += ["--data-dir", data, "--http", "127.0.0.1:0", "--application-id", app, "--commit-interval", f"{commit_ms}ms"]
        process = Process([*command, "--print-urls", "json", "--quiet", *more], data / "log")
        return process, until("Millstream", lambda: process.said('"http"'), process, 120)["http"]

    def start_instance(self, job, app, data, commit_ms, guarantee):
        """examples/instance: the process and its addresses."""
        sql = self.sql(job, app, data) / "bench.sql"
        command = [self.tools.instance, BOOTSTRAP, self.registry, sql, data, app, commit_ms, guarantee]
        process = Process(command, data / "log")
        return process, until("the instance", lambda: process.said('"http"'), process, 120)

    def finish(self, process, url, records, every=0.1):
        """Waits until so many records are committed, and reads off what that took. Asking costs a little of its CPU, so not too often."""
        count = lambda: metric(url, "millstream_records_in_total")
        first = until("a record", lambda: count() > 0 and time.time(), process, 120)
        until("all records", lambda: count() >= records, process, PATIENCE_S, every)
        wall = time.time() - first
        commits, seconds = metric(url, "millstream_commit_seconds_count"), metric(url, "millstream_commit_seconds_sum")
        return {
            "wall_s": wall,
            "cpu_s": process.cpu_s(),
            "peak_kb": process.status_kb("VmHWM"),
            "commit_ms": 1000 * seconds / max(commits, 1),
        }

    def ours(self, job, commit_ms, *more, app=None, data=None, records=None, verify=True):
        """One run over all that is in the topics; `app` and `data` of an earlier run go on from there with `records` more."""
        data = data or self.fresh("millstream")
        app = app or f"ms{job.suffix}-{self.count}"
        process, url = self.start(self.sql(job, app, data), app, data, commit_ms, *more)
        with process:
            result = self.finish(process, url, records or job.ratings + job.movies)
        if verify:
            self.verify(job, app)
        return dict(result, app=app, data=data)

    def instructions(self, job, more_ratings, commit_ms, *more):
        """Instructions of a rating, without those of the start and of the ratings that are there already."""
        data = self.fresh("counted")
        counted = Counted(data)
        app = f"in{job.suffix}-{self.count}"
        process, url = self.start(self.sql(job, app, data), app, data, commit_ms, *more, under=counted.command)
        with process:
            before = job.ratings + job.movies
            self.finish(process, url, before, every=1)
            counted.since_last(process)
            self.load_ratings(job, more_ratings)
            self.finish(process, url, before + more_ratings, every=1)
            found = counted.since_last(process)
        self.verify(job, app)
        return found / more_ratings

    def instance(self, job, commit_ms, guarantee, verify=False):
        """As `ours`, in examples/instance with a guarantee."""
        data = self.fresh("instance")
        app = f"in{job.suffix}-{self.count}"
        process, urls = self.start_instance(job, app, data, commit_ms, guarantee)
        with process:
            result = self.finish(process, urls["http"], job.ratings + job.movies)
        if verify:
            self.verify(job, app)
        return result

    def verify(self, job, app):
        """Every average is that of the ratings; the driver ends with an error if not."""
        return self.tools.drive("verify", BOOTSTRAP, job.topic("ratings"), self.rated(job, app))

    def restore(self, job, run):
        """Deletes the state of a run and waits until it is back."""
        app, data = run["app"], run["data"]
        shutil.rmtree(data)
        data.mkdir()
        process, url = self.start(self.sql(job, app, data), app, data, 100)
        with process:
            restored = lambda: metric(url, "millstream_restored_records_total")
            start = until("restore", lambda: restored() > 0 and time.time(), process, 120)
            ready = lambda: metric(url, "millstream_restore_offsets_left") == 0 and '"ready"' in http(f"{url}/health/ready")
            until("the end of the restore", ready, process, 300)
            return {"records": restored(), "wall_s": time.time() - start, "cpu_s": process.cpu_s()}

    def peer_command(self, job, app, state, records, commit_ms):
        return [*JAVA, "-cp", self.tools.classpath, "Peer", BOOTSTRAP, job.suffix, str(records), app, str(state), str(commit_ms)]

    def peer(self, job, commit_ms, app=None, state=None, records=None):
        """One run of Kafka Streams; 0 records: only restores."""
        state = state or self.fresh("peer")
        app = app or f"ks{job.suffix}-{self.count}-{os.getpid()}"
        records = job.ratings if records is None else records
        output = subprocess.run(self.peer_command(job, app, state, records, commit_ms), check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        return dict(json.loads(output.strip().splitlines()[-1]), app=app, state=state)

    def peer_restore(self, job, run):
        shutil.rmtree(run["state"])
        result = self.peer(job, 100, run["app"], run["state"], 0)
        return {"records": result["restored"], "wall_s": result["restore_s"], "cpu_s": result["cpu_s"]}

    def latency(self, job, rated, rate, seconds, warm_up):
        schema = self.schema_ids[job.suffix][1]
        return self.tools.drive("latency", BOOTSTRAP, job.topic("ratings"), rated, job.movies, schema, rate, seconds, warm_up)

    def end_of(self, topic):
        return self.tools.drive("ends", BOOTSTRAP, topic)["end"]

#!/usr/bin/env python3
"""The ratings job in Millstream and in Kafka Streams, one after the other on the same Apache Kafka, and the client library alone as the limit.

    make bench          10 M ratings a workload, 3 runs each; writes BENCHMARKS.md
    make bench-quick    1 M ratings, 1 run each; prints only

Settings by environment: RECORDS, RUNS, COMMIT_MS, PORT. CPU is that of the process itself, user and system, from start to the last commit.
"""
import json, os, platform, re, shutil, signal, statistics, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "millstream"
QUICK = os.environ.get("QUICK") == "1"
RECORDS = int(os.environ.get("RECORDS", 1_000_000 if QUICK else 10_000_000))
RUNS = int(os.environ.get("RUNS", 1 if QUICK else 3))
COMMIT_MS = int(os.environ.get("COMMIT_MS", 100))
PORT = int(os.environ.get("PORT", 29092))
BOOTSTRAP = f"127.0.0.1:{PORT}"
WORKLOADS = {"-z": ("Zipf 1.10, 100 k movies", 100_000, 110), "-u": ("uniform, 1 M movies", 1_000_000, 0)}
MOVIE = ["movie_id long", "title string", "release_year int", "country string"]
RATING = ["movie_id long", "rating double", "user_id long"]


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=ROOT, **options).stdout


def build():
    """The program, the load driver and the peer's class path. TARGET: a folder with the two binaries, instead of a build."""
    say("building Millstream (release) and the peer")
    if "TARGET" in os.environ:
        target = Path(os.environ["TARGET"])
    else:
        subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "millstream", "--example", "bench"], check=True, cwd=ROOT)
        metadata = json.loads(run("cargo", "metadata", "--format-version", "1", "--no-deps"))
        target = Path(metadata["target_directory"]) / "release"
    libs, classes = CACHE / "peer" / "libs", CACHE / "peer" / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    peer = ROOT / "bench" / "peer"
    if not list(libs.glob("kafka-streams*.jar")):
        subprocess.run(["mvn", "-q", "-B", "-f", str(peer / "pom.xml"), "dependency:copy-dependencies", f"-DoutputDirectory={libs}"], check=True)
    subprocess.run(["javac", "-cp", f"{libs}/*", "-d", str(classes), str(peer / "src/main/java/Peer.java")], check=True)
    return target / "millstream", target / "examples" / "bench", f"{classes}:{libs}/*"


class Process:
    """A child that is ended with its group, whatever happens."""

    def __init__(self, command, log, **options):
        self.log = log
        self.child = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT, start_new_session=True, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()

    def kill(self):
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    def cpu_s(self):
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_kb(self):
        return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.child.pid}/status").read_text()).group(1))

    def must_live(self):
        if self.child.poll() is not None:
            sys.exit(f"{self.child.args[0]} ended:\n{Path(self.log).read_text()[-4000:]}")


def http(url, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/vnd.schemaregistry.v1+json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def until(what, condition, process, seconds):
    end = time.time() + seconds
    while time.time() < end:
        process.must_live()
        try:
            found = condition()
            if found:
                return found
        except OSError:
            pass
        time.sleep(0.02)
    sys.exit(f"{what}: nothing within {seconds} s\n{Path(process.log).read_text()[-4000:]}")


def metric(url, name):
    lines = http(f"{url}/metrics").splitlines()
    return sum(float(l.rsplit(" ", 1)[1]) for l in lines if l.startswith(name) and l[len(name)] in "{ ")


def schema(name, fields):
    fields = [dict(zip(("name", "type"), f.split())) for f in fields]
    return json.dumps({"type": "record", "name": name, "fields": fields})


def register(registry, subject, name, fields):
    answer = http(f"{registry}/subjects/{subject}/versions", {"schema": schema(name, fields)})
    return str(json.loads(answer)["id"])


class Bench:
    def __init__(self, work, millstream, driver, classpath, registry):
        self.work, self.millstream, self.driver, self.classpath, self.registry = work, millstream, driver, classpath, registry
        self.count = 0

    def fresh(self, name):
        self.count += 1
        path = self.work / f"{name}-{self.count}"
        path.mkdir()
        return path

    def generate(self, suffix):
        title, movies, zipf = WORKLOADS[suffix]
        say(f"generating {RECORDS:,} ratings: {title}")
        ids = [register(self.registry, f"movies{suffix}-value", "Movie", MOVIE), register(self.registry, f"ratings{suffix}-value", "Rating", RATING)]
        run(str(self.driver), "generate", BOOTSTRAP, str(RECORDS), str(movies), str(zipf), suffix, *ids)

    def limit(self, suffix):
        return json.loads(run(str(self.driver), "limit", BOOTSTRAP, f"ratings{suffix}", str(RECORDS)))

    def start(self, suffix, app, data):
        topologies = data / "sql"
        topologies.mkdir(exist_ok=True)
        sql = (ROOT / "bench/topologies/bench.sql").read_text().replace("SUFFIX", suffix)
        (topologies / "bench.sql").write_text(re.sub(r"KAFKA_TOPIC = 'rated[^']*'", f"KAFKA_TOPIC = 'rated{suffix}-{app}'", sql))
        command = [str(self.millstream), "run", "--bootstrap-servers", BOOTSTRAP, "--schema-registry", self.registry, "--topologies", str(topologies)]
        command += ["--data-dir", str(data), "--http", "127.0.0.1:0", "--application-id", app, "--commit-interval", f"{COMMIT_MS}ms", "--print-urls", "json", "--quiet"]
        process = Process(command, data / "log")
        urls = until("Millstream", lambda: next((json.loads(l) for l in Path(process.log).read_text().splitlines() if l.startswith("{") and '"http"' in l), None), process, 60)
        return process, urls["http"].rstrip("/")

    def millstream_job(self, suffix, movies):
        app = f"ms{suffix}-{self.count}"
        data = self.fresh("millstream")
        process, url = self.start(suffix, app, data)
        with process:
            first = until("a record", lambda: metric(url, "millstream_records_in_total") > 0 and time.time(), process, 60)
            until("all records", lambda: metric(url, "millstream_records_in_total") >= RECORDS + movies, process, 900)
            wall = time.time() - first
            until("the last commit", lambda: metric(url, "millstream_lag_records") == 0, process, 60)
            commits, seconds = metric(url, "millstream_commit_seconds_count"), metric(url, "millstream_commit_seconds_sum")
            result = {"wall_s": wall, "cpu_s": process.cpu_s(), "peak_kb": process.peak_kb(), "commit_ms": 1000 * seconds / max(commits, 1)}
        verified = json.loads(run(str(self.driver), "verify", BOOTSTRAP, suffix, f"rated{suffix}-{app}"))
        assert verified["wrong"] == 0, verified
        return result, app, data

    def millstream_restore(self, suffix, app, data):
        shutil.rmtree(data)
        data.mkdir()
        process, url = self.start(suffix, app, data)
        with process:
            start = until("restore", lambda: metric(url, "millstream_restored_records_total") > 0 and time.time(), process, 120)
            ready = lambda: metric(url, "millstream_restore_offsets_left") == 0 and '"ready"' in http(f"{url}/health/ready")
            until("the end of the restore", ready, process, 300)
            records = metric(url, "millstream_restored_records_total")
            return {"records": records, "wall_s": time.time() - start, "cpu_s": process.cpu_s()}

    def peer(self, suffix, app, state, records):
        command = ["java", "-Xmx512m", "-cp", self.classpath, "Peer", BOOTSTRAP, suffix, str(records), app, str(state), str(COMMIT_MS)]
        return json.loads(run(*command, stderr=subprocess.DEVNULL).strip().splitlines()[-1])


def median(values):
    return statistics.median(values)


def measure(bench, suffix):
    title, movies, _ = WORKLOADS[suffix]
    bench.generate(suffix)
    ours, theirs, limits = [], [], []
    app = data = state = None
    for i in range(RUNS):
        say(f"{title}: run {i + 1} of {RUNS}")
        limits.append(bench.limit(suffix))
        result, app, data = bench.millstream_job(suffix, movies)
        ours.append(result)
        state = bench.fresh("peer")
        peer_app = f"ks{suffix}-{i}-{os.getpid()}"
        theirs.append(bench.peer(suffix, peer_app, state, RECORDS))
    say(f"{title}: restore")
    restore = bench.millstream_restore(suffix, app, data)
    shutil.rmtree(state)
    peer_restore = bench.peer(suffix, peer_app, state, 0)
    rate = lambda all: median([RECORDS / r["cpu_s"] for r in all])
    peak = lambda all: median([r["peak_kb"] for r in all]) / 1024
    return {
        "title": title,
        "limit": rate(limits),
        "cpu": (rate(ours), rate(theirs)),
        "wall": (median([RECORDS / r["wall_s"] for r in ours]), median([RECORDS / r["wall_s"] for r in theirs])),
        "peak": (peak(ours), peak(theirs)),
        "commit_ms": median([r["commit_ms"] for r in ours]),
        "restore": (restore["records"] / max(restore["wall_s"], 0.001), peer_restore["restored"] / max(peer_restore["restore_s"], 0.001)),
    }


def table(results):
    lines = ["| workload | figure | Millstream | Kafka Streams | ratio | target | |", "|---|---|---|---|---|---|---|"]

    def row(title, figure, ours, theirs, form, target, met):
        ratio = ours / theirs if theirs else float("nan")
        lines.append(f"| {title} | {figure} | {form(ours)} | {form(theirs)} | {ratio:.2f} | {target} | {'met' if met(ours, ratio) else 'not met'} |")

    count = lambda x: f"{x:,.0f}"
    for suffix, r in results.items():
        wanted = {"-z": 3, "-u": 2}[suffix]
        row(r["title"], "records a CPU second", *r["cpu"], count, f"{wanted}x", lambda o, q: q >= wanted)
        row(r["title"], "records a second", *r["wall"], count, "", lambda o, q: q >= 1)
        row(r["title"], "peak memory, MB", *r["peak"], count, "under 256", lambda o, q: o < 256)
        row(r["title"], "restore, records a second", *r["restore"], count, "", lambda o, q: q >= 1)
        lines.append(f"| {r['title']} | library alone, records a CPU second | {count(r['limit'])} | | {r['limit'] / r['cpu'][0]:.2f} of the library's cost | | |")
        lines.append(f"| {r['title']} | mean commit, ms | {r['commit_ms']:.1f} | | | | |")
    return "\n".join(lines)


def report(results):
    text = f"""# Benchmarks

The ratings job, exactly-once, commits every {COMMIT_MS} ms on both sides: ratings counted and summed a movie, averaged, joined with the movies, written to a topic.
Kafka Streams runs the same job (`bench/peer`) with `-Xmx512m`, one thread; Millstream with one worker; Apache Kafka 4.3.1 on the same machine. {f'Medians of {RUNS} runs' if RUNS > 1 else 'One run'} of
{RECORDS:,} Avro ratings over 6 partitions; after each of our runs every average is compared with the one computed from the ratings.

    make bench

Machine: {os.cpu_count()} cores, {platform.machine()}, {platform.system()}. Millstream {run('git', 'describe', '--always').strip()}, {time.strftime('%Y-%m-%d')}.
Runs minutes apart differ by a quarter on shared machines: compare ratios, not single figures.

{table(results)}
"""
    (ROOT / "BENCHMARKS.md").write_text(text)


def main():
    millstream, driver, classpath = build()
    work = Path(tempfile.mkdtemp(prefix="millstream-bench-"))
    registry_port = PORT + 5
    try:
        with Process([str(ROOT / "scripts/kafka.sh"), "run", str(work / "kafka"), str(PORT)], work / "kafka.log") as kafka:
            with Process([str(driver), "registry", str(registry_port)], work / "registry.log") as registry:
                url = f"http://127.0.0.1:{registry_port}"
                until("the registry", lambda: http(f"{url}/subjects"), registry, 20)
                until("Kafka", lambda: subprocess.run([str(driver), "ready", BOOTSTRAP], stderr=subprocess.DEVNULL).returncode == 0, kafka, 60)
                bench = Bench(work, millstream, driver, classpath, url)
                results = {suffix: measure(bench, suffix) for suffix in WORKLOADS}
        print(table(results))
        if not QUICK:
            report(results)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()

"""The first eight rows: the ratings job beside Kafka Streams and beside the client library alone."""

import os
from dataclasses import dataclass

from figures import Figure, at_least, at_most, below, mid, show
from harness import Process, say, until
from jobs import Workload

KAFKA_STREAMS, LIBRARY = "Kafka Streams", "librdkafka alone"


@dataclass(frozen=True)
class Sizes:
    """How much is measured. The uniform load is shorter than the Zipf one, since it takes Kafka Streams minutes."""

    runs: int
    ratings: int
    uniform: int
    keys: int  # movies of the uniform load
    changelog: int  # ratings that are behind the restore
    latency_s: tuple = (20, 10)  # measured, and the warm-up before


def sizes(quick):
    number = lambda name, default: int(os.environ.get(name, default))
    ratings = number("RECORDS", 1_000_000 if quick else 4_000_000)
    return Sizes(
        runs=number("RUNS", 1 if quick else 3),
        ratings=ratings,
        uniform=number("UNIFORM", min(ratings, 1_000_000 if quick else 1_500_000)),
        keys=number("KEYS", 1_000_000),
        changelog=number("CHANGELOG", ratings),
        latency_s=(number("SECONDS", 20), number("WARM_UP", 10)),
    )


def zipf_job(sizes):
    return Workload("-z", "Zipf 1.10, 100 k movies", 100_000, 110, sizes.ratings)


def uniform_job(sizes):
    return Workload("-u", f"uniform, {sizes.keys / 1e6:g} M movies", sizes.keys, 0, sizes.uniform)


def per_cpu_s(job):
    return lambda run: job.ratings / run["cpu_s"]


def cost_us(job):
    return lambda run: 1e6 * run["cpu_s"] / job.ratings


def peak_mb(run):
    return run["peak_kb"] / 1024


def of(job):
    return f"{job.title}; {job.ratings / 1e6:g} M ratings"


def beside_peer(job, interval, wanted, ours, theirs):
    name = f"{of(job)}, exactly-once, commits every {interval}: records a CPU second"
    return at_least(name, wanted, mid(ours, per_cpu_s(job)), mid(theirs, per_cpu_s(job)), KAFKA_STREAMS)


def beside_library(job, interval, wanted, ours, limits):
    name = f"{of(job)}, commits every {interval}: CPU microseconds a record"
    return at_most(name, wanted, mid(ours, cost_us(job)), mid(limits, cost_us(job)), LIBRARY)


def more(job, ours, theirs):
    """What nobody asked for."""
    rate = lambda run: job.ratings / run["wall_s"]
    wall = at_least(f"{of(job)}: records a second", 1, mid(ours, rate), mid(theirs, rate), KAFKA_STREAMS)
    wall.target, wall.met = "", None
    return [wall, Figure(f"{of(job)}: mean commit", ours=f"{mid(ours, lambda run: run['commit_ms']):.1f} ms")]


def ratings_rows(jobs, sizes):
    """Rows 1 and 2, and a part of row 4: interleaved, so that all of them see the same machine."""
    job = zipf_job(sizes)
    say(f"loading {of(job)}")
    jobs.load(job)
    limits, fast, slow, fast_peer, slow_peer = [], [], [], [], []
    for i in range(sizes.runs):
        say(f"{job.title}: run {i + 1} of {sizes.runs}")
        limits.append(jobs.limit(job))
        fast.append(jobs.ours(job, 100))
        fast_peer.append(jobs.peer(job, 100))
        slow.append(jobs.ours(job, 1000))
        slow_peer.append(jobs.peer(job, 1000))
    rows = [
        beside_peer(job, "100 ms", 6, fast, fast_peer),
        beside_library(job, "100 ms", 2, fast, limits),
        beside_peer(job, "1 s", 7, slow, slow_peer),
        beside_library(job, "1 s", 1.6, slow, limits),
    ]
    return rows, more(job, fast, fast_peer) + memory(job, fast, fast_peer)


# Under Valgrind, a second is as much work as 20 ms are without: commits and flushes of stores have 50 times the time that they have else, and as many records.
COUNTED, COUNTED_COMMIT_MS, COUNTED_FLUSH = 400_000, 50 * 100, "500s"


def worker_rows(jobs):
    """Row 5: each count has topics of its own, since it adds ratings."""
    found = []
    for workers in (1, 2):
        say(f"instructions, {workers} workers")
        job = Workload(f"-w{workers}", "Zipf 1.10, 100 k movies", 100_000, 110, 1_000)
        jobs.load(job)
        found.append(jobs.instructions(job, COUNTED, COUNTED_COMMIT_MS, "--workers", workers, "--flush-interval", COUNTED_FLUSH))
    one, two = found
    name = f"Zipf 1.10, 100 k movies; {COUNTED / 1e6:g} M ratings, two workers: instructions a record, counted by Valgrind"
    return [at_most(name, 1.1, two, one, "one worker", "{:,.0f}")]


def memory(job, ours, theirs):
    peak = mid(ours, peak_mb)
    return [
        below(f"{of(job)}: peak resident memory", 200, peak, "MB"),
        at_most(f"{of(job)}: peak resident memory, MB", 0.25, peak, mid(theirs, peak_mb), KAFKA_STREAMS, "{:,.0f}"),
    ]


def uniform_rows(jobs, sizes):
    """Row 3, and a part of row 4; the last runs are gone on with by the restore."""
    job = uniform_job(sizes)
    say(f"loading {of(job)}")
    jobs.load(job)
    limits, ours, theirs = [], [], []
    for i in range(sizes.runs):
        say(f"{job.title}: run {i + 1} of {sizes.runs}")
        limits.append(jobs.limit(job))
        ours.append(jobs.ours(job, 100))
        theirs.append(jobs.peer(job, 100))
    rows = [beside_peer(job, "100 ms", 4, ours, theirs)]
    library = beside_library(job, "100 ms", 1, ours, limits)
    library.target, library.met = "", None
    return rows, memory(job, ours, theirs) + more(job, ours, theirs) + [library], (ours[-1], theirs[-1])


def restore_rows(jobs, sizes, run, peer_run):
    """Row 8: the state of the uniform job, after more ratings, from its changelogs."""
    job = uniform_job(sizes)
    rest = sizes.changelog - job.ratings
    if rest > 0:
        say(f"{rest:,} more ratings for the restore")
        jobs.load_ratings(job, rest)
        jobs.ours(job, 100, app=run["app"], data=run["data"], records=rest)
        jobs.peer(job, 100, peer_run["app"], peer_run["state"], rest)
    ours, theirs = [], []
    for i in range(sizes.runs):
        say(f"restore {i + 1} of {sizes.runs}")
        ours.append(jobs.restore(job, run))
        theirs.append(jobs.peer_restore(job, peer_run))
    rate = lambda restored: restored["records"] / max(restored["wall_s"], 0.001)
    records = mid(ours, lambda restored: restored["records"])
    return [at_least(f"restore of {records / 1e6:.1f} M changelog records: records a second", 2.5, mid(ours, rate), mid(theirs, rate), KAFKA_STREAMS)]


def guarantee_rows(jobs, sizes):
    """Row 6: the same engine over a log without transactions (examples/instance)."""
    job = zipf_job(sizes)
    exactly, least = [], []
    for i in range(sizes.runs):
        say(f"exactly-once and at-least-once: run {i + 1} of {sizes.runs}")
        exactly.append(jobs.instance(job, 100, "exactly-once"))
        least.append(jobs.instance(job, 100, "at-least-once-for-comparison-only", verify=i == 0))
    name = f"{of(job)}, exactly-once: CPU microseconds a record"
    return [at_most(name, 1.1, mid(exactly, cost_us(job)), mid(least, cost_us(job)), "at-least-once in the same engine (only in a benchmark)")]


# Commit intervals of the latency: ours is our choice, 10 ms is the peer's best setting.
OURS_COMMIT_MS, PEER_COMMIT_MS = int(os.environ.get("LATENCY_COMMIT_MS", 10)), 10
RATE, FIRST = 20_000, 20_000
LATENCY_TARGETS = [("p50", 10), ("p99", 28)]


def latency_rows(jobs, sizes):
    """Row 7: the two alone with the broker, one after the other, each with topics of its own."""
    ours, theirs = [], []
    for i in range(sizes.runs):
        say(f"latency: run {i + 1} of {sizes.runs}")
        ours.append(latency_run(jobs, sizes, Workload(f"-l{i}", "Zipf", 100_000, 110, FIRST), our_process, OURS_COMMIT_MS))
        theirs.append(latency_run(jobs, sizes, Workload(f"-k{i}", "Zipf", 100_000, 110, FIRST), peer_process, PEER_COMMIT_MS))
    rows = []
    for part, about in LATENCY_TARGETS:
        pick = lambda run: run[f"{part}_ms"]
        name = f"end-to-end latency, exactly-once, {RATE:,} records a second, {part} in ms (commits every {OURS_COMMIT_MS} ms; Kafka Streams {PEER_COMMIT_MS} ms)"
        row = at_most(name, 0.5, mid(ours, pick), mid(theirs, pick), KAFKA_STREAMS, "{:.1f}")
        row.target += f" (about {about} ms)"
        rows.append(row)
    return rows


def latency_run(jobs, sizes, job, start, commit_ms):
    jobs.load(job)
    process, rated = start(jobs, job, commit_ms)
    with process:
        # Only with its first outputs it is up.
        until("the first outputs", lambda: jobs.end_of(rated) > 0, process, 120, 0.2)
        return jobs.latency(job, rated, RATE, *sizes.latency_s)


def our_process(jobs, job, commit_ms):
    data = jobs.fresh("latency")
    process, _ = jobs.start(jobs.sql(job, "lat", data), f"lat{job.suffix}", data, commit_ms)
    return process, jobs.rated(job, "lat")


def peer_process(jobs, job, commit_ms):
    command = jobs.peer_command(job, f"lat{job.suffix}", jobs.fresh("latency-peer"), 10**12, commit_ms)
    return Process(command, jobs.work / f"latency{job.suffix}.log"), job.topic("peer-rated")


def first_rows(jobs, sizes, quick):
    """All figures; only the first three rows when it has to be quick."""
    rows, others = ratings_rows(jobs, sizes)
    show(rows + others)
    row, more_rows, last = uniform_rows(jobs, sizes)
    show(row + more_rows)
    rows, others = rows + row, others + more_rows
    if quick:
        return rows + others
    rows += show(worker_rows(jobs))
    rows += show(guarantee_rows(jobs, sizes))
    rows += show(restore_rows(jobs, sizes, *last))
    rows += show(latency_rows(jobs, sizes))
    asked = [figure for figure in others if figure.target]
    return rows + asked + [figure for figure in others if not figure.target]

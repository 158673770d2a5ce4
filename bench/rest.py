"""Further figures: restart, point reads, size, idle memory and the time to the first view."""

import shutil, subprocess, time

import recovery
from figures import Figure, at_least, at_most, below, mid, show
from harness import ROOT, Process, http, median, say, until
from jobs import Workload


def restart_rows(jobs, runs):
    """`kill -9` as in RELIABILITY.md, static members both, nothing written there."""
    parts = recovery.Recovery(jobs.work, jobs.tools, jobs.registry)
    parts.generate(recovery.RECORDS, recovery.KEYS)
    ours, theirs = [], []
    systems = [("Kafka Streams", lambda: parts.peer(recovery.RECORDS), parts.peer_again, theirs)]
    systems += [("Millstream", lambda: parts.ours(recovery.KEYS + recovery.RECORDS), parts.ours_again, ours)]
    for name, start, again, times in systems:
        say(f"{name}: {recovery.KEYS:,} keys")
        process = start()[0]
        parts.settle()
        for i in range(runs):
            say(f"{name}: kill -9, {i + 1} of {runs}")
            process, (seconds, _) = again(process, "kill -9", False)
            times.append(seconds)
        recovery.end(process, "kill -9")
    name = f"restart after `kill -9`, {recovery.KEYS / 1e6:g} M keys, to processing again: seconds"
    ours, theirs = median(ours), median(theirs)
    return [below(name, 2, ours, "s", "{:.2f}"), at_most(name, 0.1, ours, theirs, "Kafka Streams")]


RATE, CONNECTIONS, SECONDS, KEYS = 20_000, 64, 8, recovery.KEYS


def read_rows(jobs, runs):
    """A view's rows by key, and constant bytes of the same size from the same process (examples/instance), while ratings flow."""
    job = Workload("-p", "point reads", KEYS, 0, KEYS)
    say("loading for point reads")
    jobs.load(job)
    data = jobs.fresh("reads")
    process, urls = jobs.start_instance(job, "reads", data, 100, "exactly-once")
    with process:
        jobs.finish(process, urls["http"], job.ratings + job.movies)
        flow_for = runs * 4 * (SECONDS + 3) + 10
        flow = [jobs.tools.driver, "ratings", *jobs.ratings_arguments(job, RATE * flow_for, RATE)]
        with Process(flow, jobs.work / "flow.log"):
            row = http(f"{urls['http']}/v1/views/MOVIES/rows/{KEYS // 2}")
            http(f"{urls['bare']}/row", row.encode(), "application/json")
            read = lambda base, path: jobs.tools.drive("reads", base.removeprefix("http://"), path, KEYS, CONNECTIONS, SECONDS)
            ours, bare, joined = [], [], []
            for i in range(runs):
                say(f"point reads: run {i + 1} of {runs}")
                ours.append(read(urls["http"], "/v1/views/MOVIES/rows/{key}"))
                bare.append(read(urls["bare"], "/row/{key}"))
                joined.append(read(urls["http"], "/v1/views/RATED/rows/{key}"))
    refused = sum(sample["refused"] for sample in ours)
    name = f"point reads over HTTP, {CONNECTIONS} connections, {KEYS / 1e6:g} M keys, {RATE:,} ratings a second flowing"
    beside = "bare axum handler in the same process"
    rate, p99 = (lambda sample: sample["rate"]), (lambda sample: sample["p99_us"] / 1000)
    rows = [at_least(f"{name}: reads a second", 0.7, mid(ours, rate), mid(bare, rate), beside)]
    rows.append(at_most(f"{name}: p99 in ms", 2, mid(ours, p99), mid(bare, p99), beside))
    rows.append(Figure(f"{name}: rows of a join of two stores, reads a second", ours=f"{mid(joined, rate):,.0f}"))
    if refused:
        rows.append(Figure(f"{name}: reads without a row", "0", f"{refused:,}", met=False))
    return rows


# Starts take 0.2 or 0.3 s, by how the group's pauses fall: three would be a draw.
STARTS = 11


def size_rows(jobs):
    """The program as the container image has it, and doing nothing."""
    stripped = jobs.work / "millstream-stripped"
    shutil.copy(jobs.tools.millstream, stripped)
    subprocess.run(["strip", str(stripped)], check=True)
    rows = [below("size of the program, stripped as in the container image", 40, stripped.stat().st_size / 2**20, "MB")]
    job = Workload("-i", "idle", 1_000, 110, 10_000)
    jobs.load(job)
    data = jobs.fresh("idle")
    options = ("--instance-id", "one")
    process, url = jobs.start(jobs.sql(job, "idle", data), "idle", data, 100, *options)
    with process:
        jobs.finish(process, url, job.ratings + job.movies)
    idle, starts = [], []
    for i in range(STARTS):
        say(f"start {i + 1}")
        begin = time.time()
        process, url = jobs.start(data / "sql", "idle", data, 100, *options)
        with process:
            first_row(process, url, "RATED")
            starts.append(time.time() - begin)
            time.sleep(5)
            idle.append(process.status_kb("VmRSS") / 1024)
    rows.append(below("resident memory of an idle instance (`run`, the ratings job)", 60, median(idle), "MB"))
    rows.append(below("`run`, state on disk: from the start of the process to the first row of a view", 300, 1000 * median(starts), "ms"))
    return rows + [dev_start(jobs)]


def first_row(process, url, view):
    until("a row", lambda: '"rows":[{' in http(f"{url}/v1/views/{view}/rows?limit=1").replace(" ", ""), process, 60, 0.005)


def dev_start(jobs):
    starts = []
    for _ in range(STARTS):
        data = jobs.fresh("dev")
        command = [jobs.tools.millstream, "dev", "--data-dir", data, "--http", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--registry", "127.0.0.1:0"]
        begin = time.time()
        process = Process([*command, "--print-urls", "json", "--quiet"], data / "log", cwd=ROOT)
        with process:
            url = until("the address", lambda: process.said('"http"'), process, 60, 0.005)["http"]
            until("an answer", lambda: http(f"{url}/v1/views/RATED_MOVIES/rows?limit=1"), process, 60, 0.005)
            starts.append(time.time() - begin)
    return below("`dev`, empty directory: from the start of the process to the first answer of a view", 300, 1000 * median(starts), "ms")


def further_rows(jobs, runs):
    return show(size_rows(jobs)) + show(read_rows(jobs, runs)) + show(restart_rows(jobs, runs))

#!/usr/bin/env python3
"""How long it takes to be back, in Millstream and in Kafka Streams, on the same Apache Kafka and with the same state.

    make bench-recovery          1 M keys; puts the table into RELIABILITY.md
    KEYS=100000 RECORDS=200000 bench/recovery.py

Both are static members with a session time-out of 10 s. A process is ended (`kill -9`, or cleanly as in a rolling restart), its disk is kept or deleted,
2,000 ratings of 100 movies are written meanwhile, and the same process is started again at once. Measured is the time from the start of the new
process until all of these ratings are processed, which takes every task: start of the process, group, restore, first records.
"""
import os, re, shutil, signal, sys, time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import harness as bench

KEYS = int(os.environ.get("KEYS", 1_000_000))
RECORDS = int(os.environ.get("RECORDS", 1_500_000))
SUFFIX, APP, MORE, MORE_KEYS = "-r", "recovery", 2_000, 100
SESSION_MS = 10_000
ROOT = bench.ROOT


class Recovery:
    def __init__(self, work, tools, registry):
        self.work, self.tools, self.registry = work, tools, registry
        self.data, self.state, self.count = work / "data", work / "state", 0

    def generate(self, records, keys):
        movie = bench.register(self.registry, f"movies{SUFFIX}-value", "Movie", bench.MOVIE)
        rating = bench.register(self.registry, f"ratings{SUFFIX}-value", "Rating", bench.RATING)
        self.tools.drive("topics", bench.BOOTSTRAP, bench.PARTITIONS, f"movies{SUFFIX},ratings{SUFFIX}")
        self.tools.drive("movies", bench.BOOTSTRAP, f"movies{SUFFIX}", keys, movie)
        self.tools.drive("ratings", bench.BOOTSTRAP, f"ratings{SUFFIX}", records, keys, 0, rating, 0)

    def ours(self, records, *more):
        """Starts it, waits until so many records are processed: the process, its address and the seconds that took."""
        self.data.mkdir(exist_ok=True)
        sql = self.work / "sql"
        sql.mkdir(exist_ok=True)
        text = (ROOT / "bench/topologies/bench.sql").read_text().replace("SUFFIX", SUFFIX)
        (sql / "bench.sql").write_text(text)
        command = [str(self.tools.millstream), "run", "--bootstrap-servers", bench.BOOTSTRAP, "--schema-registry", self.registry, "--topologies", str(sql)]
        command += ["--data-dir", str(self.data), "--http", "127.0.0.1:0", "--application-id", APP, "--instance-id", "one", "--print-urls", "json", "--quiet", *more]
        self.count += 1
        log = self.work / f"millstream-{self.count}.log"
        begin = time.time()
        process = bench.Process(command, log)
        url = bench.until("Millstream", lambda: process.said('"http"'), process, 120)["http"].rstrip("/")
        done = lambda: bench.metric(url, "millstream_records_in_total") >= records and bench.metric(url, "millstream_lag_records") == 0
        bench.until(f"{records} records", done, process, 1_800)
        return process, url, time.time() - begin

    def peer(self, records):
        command = ["java", "-Xmx512m", "-cp", self.tools.classpath, "Peer", bench.BOOTSTRAP, SUFFIX, str(records), "recovery-peer", str(self.state), "100"]
        self.count += 1
        log = self.work / f"peer-{self.count}.log"
        environment = dict(os.environ, INSTANCE="one", SESSION_MS=str(SESSION_MS), STAY="1")
        process = bench.Process(command, log, env=environment)
        found = bench.until(f"{records} records of the peer", lambda: process.said('"records"'), process, 1_800)
        return process, found

    def settle(self):
        # Idle for a moment: no transaction is open when it is ended, in either of the two.
        time.sleep(2)

    def ours_again(self, process, how, lost, *more):
        end(process, how)
        if lost:
            shutil.rmtree(self.data)
        self.generate(MORE, MORE_KEYS)
        process, url, seconds = self.ours(MORE + MORE_KEYS, *more)
        restored = bench.metric(url, "millstream_restored_records_total")
        self.settle()
        return process, (seconds, restored)

    def peer_again(self, process, how, lost):
        end(process, how)
        if lost:
            shutil.rmtree(self.state)
        self.generate(MORE, MORE_KEYS)
        process, found = self.peer(MORE)
        self.settle()
        return process, (found["since_start_s"], found["restored"])


def end(process, how):
    if how == "kill -9":
        process.kill()
    else:
        os.killpg(process.child.pid, signal.SIGTERM)
        process.child.wait(60)


def measure_ours(recovery):
    bench.say(f"Millstream: {KEYS:,} keys, {RECORDS:,} ratings")
    process, _, _ = recovery.ours(KEYS + RECORDS)
    results = {}
    recovery.settle()
    for name, how, lost in CASES:
        bench.say(f"Millstream: {name}")
        process, results[name] = recovery.ours_again(process, how, lost)
    bucket = recovery.work / "snapshots"
    options = ["--snapshots", f"file://{bucket}", "--snapshot-interval", "1s"]
    end(process, "clean")
    recovery.generate(MORE, MORE_KEYS)
    process, _, _ = recovery.ours(MORE + MORE_KEYS, *options)
    tasks = 6
    bench.until("snapshots", lambda: len(list(bucket.rglob("manifests/*.json"))) >= tasks, process, 300)
    recovery.generate(MORE, MORE_KEYS)
    recovery.settle()
    bench.say(f"Millstream: {WITH_SNAPSHOT}")
    process, results[WITH_SNAPSHOT] = recovery.ours_again(process, "kill -9", True, "--snapshots", f"file://{bucket}")
    end(process, "clean")
    return results


def measure_peer(recovery):
    bench.say(f"Kafka Streams: {KEYS:,} keys, {RECORDS:,} ratings")
    process, _ = recovery.peer(RECORDS)
    results = {}
    recovery.settle()
    for name, how, lost in CASES:
        bench.say(f"Kafka Streams: {name}")
        process, results[name] = recovery.peer_again(process, how, lost)
    end(process, "kill -9")
    return results


# Kafka Streams keeps its state over a kill only where it was closed cleanly before.
CASES = [
    ("`kill -9`, never closed cleanly before", "kill -9", False),
    ("clean restart, a step of a rolling one", "clean", False),
    ("`kill -9` after a clean close", "kill -9", False),
    ("`kill -9`, and the disk is lost", "kill -9", True),
]
WITH_SNAPSHOT = "`kill -9`, and the disk is lost, with a snapshot in a directory"


def table(ours, theirs):
    lines = ["| what happened | Millstream | changelog records replayed | Kafka Streams | changelog records replayed |", "|---|---|---|---|---|"]
    for name in [case[0] for case in CASES] + [WITH_SNAPSHOT]:
        (seconds, restored), peer = ours[name], theirs.get(name)
        other = f"{peer[0]:.1f} s | {peer[1]:,.0f}" if peer else "| "
        lines.append(f"| {name} | {seconds:.1f} s | {restored:,.0f} | {other} |")
    return "\n".join(lines)


def report(text):
    path = ROOT / "RELIABILITY.md"
    page = path.read_text()
    head = "## Time to recover\n"
    before, rest = page.split(head, 1)
    behind = re.search(r"^## ", rest, re.M)
    after = rest[behind.start() :] if behind else ""
    old = rest[: behind.start()] if behind else rest
    # Results of other sizes stay.
    kept = [part for part in re.split(r"(?m)^(?=### )", old) if part.startswith("### ") and not part.startswith(f"### {KEYS:,} keys")]
    intro = (
        "Time from the start of the new process until 2,000 ratings that were written meanwhile are all processed, which takes every task. The ratings job of\n"
        "`BENCHMARKS.md`, six partitions, one thread each, exactly-once, commits every 100 ms; both are static members with a session time-out of 10 s and run alone\n"
        "on the same Apache Kafka. Kafka Streams has `-Xmx512m`.\n\n    make bench-recovery\n\n"
    )
    path.write_text(before + head + "\n" + intro + "".join(kept) + text + "\n\n" + after)


def main():
    tools = bench.build()
    with bench.ground(tools, "recovery") as (work, registry):
        recovery = Recovery(work, tools, registry)
        recovery.generate(RECORDS, KEYS)
        theirs = measure_peer(recovery)
        ours = measure_ours(recovery)
    load = os.getloadavg()[2]
    text = table(ours, theirs)
    print(text)
    version = bench.run("git", "describe", "--always").strip()
    head = f"### {KEYS:,} keys of state, {RECORDS:,} ratings\n\n{time.strftime('%Y-%m-%d')}, Millstream {version}, Apache Kafka and Kafka Streams 4.3.1; {os.cpu_count()} cores, x86_64, Linux."
    head += f" Load of the machine over the last 15 minutes: {load:.1f}; one run."
    report(f"{head}\n\n{text}")


if __name__ == "__main__":
    main()

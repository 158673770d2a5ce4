#!/usr/bin/env python3
"""Millstream beside Kafka Streams, one after the other on the same Apache Kafka, and the client library alone as the limit.

    make bench          the first table of BENCHMARKS.md
    make bench-all      everything there
    make bench-quick    the first three rows, printed only

Settings by environment: RECORDS, UNIFORM, CHANGELOG (ratings), KEYS, RUNS, PORT, TARGET (a folder with the built programs), ONLY (parts, separated by commas).
"""

import os, sys, time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import report
from figures import table
from growth import growth
from harness import build, ground, say
from jobs import Jobs
from nexmark import nexmark_table
from rest import further_rows
from rows import first_rows, sizes


def first(jobs, mode):
    return {report.FIRST: table(first_rows(jobs, sizes(mode == "quick"), mode == "quick"))}


# What can be measured, each on a Kafka of its own: the sections of the page that come out.
PARTS = {
    "first": first,
    "rest": lambda jobs, mode: {report.REST: table(further_rows(jobs, sizes(False).runs))},
    "nexmark": lambda jobs, mode: {report.NEXMARK: nexmark_table(jobs)},
    "growth": lambda jobs, mode: {report.GROWTH: growth(jobs)},
}
ONCE = ["nexmark", "growth"]


def main():
    mode = sys.argv[1] if len(sys.argv) > 1 else "first"
    parts = {"quick": ["first"], "first": ["first"], "all": list(PARTS)}[mode]
    parts = os.environ.get("ONLY", ",".join(parts)).split(",")
    tools = build()
    for part in parts:
        begin = time.time()
        with ground(tools, part) as (work, registry):
            found = PARTS[part](Jobs(work, tools, registry), mode)
        minutes = (time.time() - begin) / 60
        for heading, text in found.items():
            print(f"\n{heading}\n\n{text}\n", flush=True)
        say(f"{part}: {minutes:.1f} minutes")
        if mode != "quick":
            report.write({heading: f"{report.measured(minutes, 1 if part in ONCE else sizes(False).runs)}\n\n{text}" for heading, text in found.items()})


if __name__ == "__main__":
    main()

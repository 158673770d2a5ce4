#!/usr/bin/env python3
"""Instructions that a task spends: a record that it processes, a key that it commits. The same on every run and every load of the machine.

    make bench-cost              against bench/cost.json; fails where something costs a tenth more
    RECORD=1 make bench-cost     puts what it found into bench/cost.json

A new compiler counts anew: then record, in a commit of its own.
"""
import json, os, re, subprocess, sys, tempfile

sys.dont_write_bytecode = True

from harness import ROOT, release_folder

KNOWN = ROOT / "bench" / "cost.json"
ALLOWED = 1.10
# What is counted, and what it is divided by.
PARTS = {"processing": "records", "committing": "keys"}
SHAPES = {"hot": "1,000 keys, each 100 times a commit", "cold": "100,000 keys, each about once a commit"}


def build():
    environment = dict(os.environ, CARGO_PROFILE_RELEASE_STRIP="none")  # callgrind finds functions by their names
    command = ["cargo", "build", "--release", "--locked", "--no-default-features", "--example", "cost"]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    return release_folder() / "examples" / "cost"


def count(program, shape, part):
    with tempfile.TemporaryDirectory() as work:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={work}/out", f"--toggle-collect=cost::{part}*", str(program), shape]
        done = subprocess.run(command, capture_output=True, text=True)
        collected = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
        if done.returncode != 0 or not collected or collected.group(1) == "0":
            sys.exit(f"{' '.join(command)}:\n{done.stderr}")
        return round(int(collected.group(1)) / json.loads(done.stdout)[PARTS[part]])


def main():
    program = build()
    known = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    found, worse = {}, []
    print(f"{'':32}{'instructions':>14}{'known':>10}{'ratio':>8}")
    for shape, text in SHAPES.items():
        print(f"{shape}: {text}")
        for part, unit in PARTS.items():
            name = f"{shape} {part}"
            found[name] = count(program, shape, part)
            before = known.get(name, found[name])
            ratio = found[name] / before
            print(f"  {part + ', a ' + unit.rstrip('s'):30}{found[name]:>14,}{before:>10,}{ratio:>8.2f}", flush=True)
            if ratio > ALLOWED:
                worse.append(name)
    if os.environ.get("RECORD") == "1":
        KNOWN.write_text(json.dumps(found, indent=2) + "\n")
        return
    problems = []
    if worse:
        problems.append(f"over a tenth more than bench/cost.json says: {', '.join(worse)}")
    if found.keys() != known.keys():
        problems.append("bench/cost.json names other figures: RECORD=1 makes it anew")
    if problems:
        sys.exit("\n".join(problems))


main()

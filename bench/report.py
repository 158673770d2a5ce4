"""BENCHMARKS.md: sections by their headings. A run replaces those that it has measured; all others stay, those that people write above all."""

import os, platform, time

from harness import ROOT, run

PATH = ROOT / "BENCHMARKS.md"
FIRST, REST, NEXMARK, GROWTH, REASONS = "Beside Kafka Streams", "Further figures", "Nexmark", "Growth", "Where the time goes"
ORDER = [FIRST, REST, NEXMARK, GROWTH, REASONS]
INTRO = """# Benchmarks

What Millstream costs beside Kafka Streams doing the same, and beside the client library doing nothing, on the same Apache Kafka in the same run.

    make bench          the first table, in less than half an hour
    make bench-all      all of it
    make bench-quick    the first three rows, printed only
    make bench-cost     instructions of a record inside of a task, the same on every run; CI fails where they grow by a tenth

The ratings job: Avro ratings over 6 partitions are counted and summed a movie, averaged, joined with the movies, and written to a topic. Kafka Streams
(`bench/peer`) has its best setting, `-Xmx512m` and one thread; Millstream one worker and its defaults. CPU is that of the process itself, user and system, from its
start to the last commit; both get the same records, so both pay for their warm-up. After each of our runs every average is compared with the one computed from the
ratings. All of it shares one machine with the broker: compare ratios, not single figures. Sections say when they were measured; a run writes its own ones anew.
"""


def version():
    """The commit; dirty where anything but this page differs from it."""
    commit = run("git", "describe", "--always").strip()
    changed = run("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!BENCHMARKS.md", ":!bench/charts").strip()
    return f"{commit}-dirty" if changed else commit


def measured(minutes, runs):
    """When, with what, on what."""
    java = run("java", "--version").splitlines()[0]
    load = os.getloadavg()[2]
    return (
        f"{time.strftime('%Y-%m-%d')}, Millstream {version()}, Apache Kafka and Kafka Streams 4.3.1, {java}; {os.cpu_count()} cores ({cpu()}), {platform.machine()}, "
        f"{platform.system()} {platform.release().split('-')[0]}. {f'Medians of {runs} runs' if runs > 1 else 'One run'}, {minutes:.0f} minutes in all; load over the last 15 minutes: {load:.1f}."
    )


def cpu():
    lines = open("/proc/cpuinfo").read().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def sections(page):
    """Heading to text, in the page's order."""
    found = {}
    for part in page.split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        found[heading.strip()] = text.strip()
    return found


def write(new):
    """Puts sections into the page."""
    old = sections(PATH.read_text()) if PATH.exists() else {}
    known = {**old, **new}
    order = [name for name in ORDER if name in known] + [name for name in known if name not in ORDER]
    PATH.write_text(INTRO + "".join(f"\n## {name}\n\n{known[name]}\n" for name in order))

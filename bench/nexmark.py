"""Nexmark's queries (bench/nexmark): events a CPU second, five of them beside Kafka Streams, all beside what Flink's authors have published."""

import json, os, re, shutil, subprocess, sys, time

from harness import BOOTSTRAP, JAVA, ROOT, metric, say
from jobs import PATIENCE_S

EVENTS = int(os.environ.get("EVENTS", 4_000_000))
PARTITIONS = 4
QUERIES = ["q0", "q1", "q2", "q3", "q4", "q5", "q7", "q8", "q11", "q12", "q14", "q17", "q18", "q20", "q22"]
PEERS = ["q1", "q3", "q4", "q8", "q12"]
# Outputs that are known from the input: a row a bid.
ROW_A_BID = ["q0", "q1", "q22"]
# Thousands a second and core: Flink 1.13 over its own generator (no Kafka), 100 M events, 8 workers; github.com/nexmark/nexmark, "Benchmark Results".
FLINK = {"q0": 155.02, "q1": 157.94, "q2": 175.21, "q3": 152.12, "q4": 34.33, "q5": 22.14, "q7": 12.33, "q8": 146.14}
FLINK |= {"q11": 39.7, "q12": 75.67, "q14": 161.23, "q17": 116.8, "q18": 53.7, "q20": 18.98, "q22": 129.96}
# A query is done when nothing has moved for so long; its own topics' ends are looked up every 5 s.
QUIET_S = 7
NOTE = f"""Events a second of the process's CPU, from its start on, exactly-once, commits every 100 ms, JSON from and to Apache Kafka ({PARTITIONS} partitions a topic), {EVENTS / 1e6:g} M events of
`bench/nexmark/generator.rs`. *Read* counts the events of the topics that a query reads. *All* counts all events, as Nexmark's authors do: their source makes all of them
for each query. Flink's column is what [they published](https://github.com/nexmark/nexmark) a core for Flink 1.13, on other machines, generated inside of Flink and written
nowhere: an order of magnitude, no race. The results of all queries are compared with SQLite's by `tests/it/nexmark.rs`; here the outputs of q0, q1 and q22 are counted.
"""


def ours(jobs, query, events):
    data = jobs.fresh(query)
    folder = data / "sql"
    folder.mkdir()
    shutil.copy(ROOT / f"bench/nexmark/{query}.sql", folder)
    process, url = jobs.start(folder, f"nx-{query}", data, 100)
    with process:
        seen, cpu, moved = 0, 0.0, time.time()
        while seen < events or time.time() - moved < QUIET_S:
            time.sleep(0.2)
            process.must_live()
            count = metric(url, "millstream_records_in_total")
            if count > seen:
                seen, cpu, moved = count, process.cpu_s(), time.time()
            elif time.time() - moved > PATIENCE_S:
                sys.exit(f"{query}: {seen:,.0f} of {events:,} records and no more for {PATIENCE_S} s")
        return {"cpu_s": cpu, "peak_mb": process.status_kb("VmHWM") / 1024}


def peer(jobs, query, events):
    jobs.tools.drive("topics", BOOTSTRAP, PARTITIONS, f"peer-{query}")
    state = jobs.fresh(f"peer-{query}")
    command = [*JAVA, "-cp", jobs.tools.classpath, "Nexmark", BOOTSTRAP, query, str(events), f"nxk-{query}-{os.getpid()}", str(state)]
    output = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return json.loads(output.strip().splitlines()[-1])


def check(jobs, query, counts):
    if query in ROW_A_BID:
        rows = jobs.tools.drive("count", BOOTSTRAP, f"nexmark_{query}")["records"]
        assert rows == counts["bid"], f"{query}: {rows} rows of {counts['bid']} bids"


def nexmark_table(jobs):
    jobs.tools.drive("topics", BOOTSTRAP, PARTITIONS, "person,auction,bid")
    say(f"writing {EVENTS:,} events")
    counts = jobs.tools.drive("events", BOOTSTRAP, EVENTS)
    lines = ["| query | events read | Millstream, read | Kafka Streams, read | ratio | Millstream, all | Flink, published, all | ratio | peak memory, MB | |", "|---|---|---|---|---|---|---|---|---|---|"]
    for query in QUERIES:
        say(query)
        sql = (ROOT / f"bench/nexmark/{query}.sql").read_text()
        events = sum(counts[topic] for topic in set(re.findall(r"KAFKA_TOPIC = '(person|auction|bid)'", sql)))
        found = ours(jobs, query, events)
        check(jobs, query, counts)
        rate, everything, flink = events / found["cpu_s"], EVENTS / found["cpu_s"], 1000 * FLINK[query]
        theirs = events / peer(jobs, query, events)["cpu_s"] if query in PEERS else 0
        beside = f"{theirs:,.0f} | {rate / theirs:.2f}x" if theirs else " | "
        verdict = "ahead" if everything > flink and rate > theirs else "**behind**"
        lines.append(f"| {query} | {events:,} | {rate:,.0f} | {beside} | {everything:,.0f} | {flink:,.0f} | {everything / flink:.2f}x | {found['peak_mb']:,.0f} | {verdict} |")
        print(lines[-1], flush=True)
    return NOTE + "\n" + "\n".join(lines)

"""Growth: what a record costs with more keys, more partitions and more views than in the small case."""

import os
from dataclasses import replace

import charts
from figures import Figure, table
from harness import ROOT, http, metric, say, until
from jobs import Workload

RATINGS = int(os.environ.get("GROWTH_RATINGS", 2_000_000))
KEYS = [int(n) for n in os.environ.get("GROWTH_KEYS", "100000,1000000,10000000").split(",")]
MANY_PARTITIONS = int(os.environ.get("GROWTH_PARTITIONS", 500))
VIEWS = [10, int(os.environ.get("GROWTH_VIEWS", 1_000))]
CACHE = ("--rocksdb-memory", "64MiB")
CHART = ROOT / "bench/charts/growth.svg"
NOTE = f"""CPU of a rating beside the small case. The process has its state on disk, 64 MB for RocksDB (block cache and all else of it), and runs all its tasks. All keys are in the
state before; then {RATINGS / 1e6:g} M ratings are processed. The views are counts over one stream in one topology, each over all of its records, ten a key; their cost is that of a record in a view.

![What a record costs, beside the small case](bench/charts/growth.svg)
"""


def short(n):
    return f"{n / 1e6:g} M" if n >= 1_000_000 else f"{n / 1e3:g} k" if n >= 1_000 else str(n)


def keys_case(jobs, keys, partitions=6, loads=((110, "Zipf"), (0, "uniform"))):
    """Cost a record under each load over so many keys: the movies come first, each load in a process of its own."""
    job = Workload(f"-g{keys}-{partitions}", "growth", keys, 0, 0, partitions)
    say(f"{short(keys)} keys, {partitions} partitions")
    jobs.load(job)
    last = jobs.ours(job, 100, *CACHE, "--instance-id", "one", records=keys, verify=False)
    costs = {}
    app, data = last["app"], last["data"]
    for zipf, name in loads:
        say(f"{short(keys)} keys, {partitions} partitions: {name}")
        process, url = jobs.start(data / "sql", app, data, 100, *CACHE, "--instance-id", "one")
        with process:
            until("all tasks", lambda: '"ready"' in http(f"{url}/health/ready"), process, 120)
            before = process.cpu_s()
            jobs.load_ratings(replace(job, zipf_percent=zipf), RATINGS)
            found = jobs.finish(process, url, RATINGS, 0.5)
            costs[name] = 1e6 * (found["cpu_s"] - before) / RATINGS
        jobs.verify(job, app)
    return costs


def views_case(jobs, views, updates):
    """Cost of a record in one view, of so many: each has the same share of updates, ten a key."""
    records = updates // views
    job = Workload(f"-v{views}", "views", records // 10, 0, records)
    say(f"{views} views")
    jobs.load(job)
    data = jobs.fresh("views")
    folder = data / "sql"
    folder.mkdir()
    stream = f"CREATE STREAM ratings (id BIGINT KEY) WITH (KAFKA_TOPIC = 'ratings{job.suffix}', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');"
    view = "CREATE TABLE v{i} WITH (WRITE_TOPIC = FALSE) AS SELECT id, COUNT(*) AS n, SUM(rating + {i}) AS s FROM ratings GROUP BY id EMIT CHANGES;"
    (folder / "views.sql").write_text("\n".join([stream, *(view.replace("{i}", str(i)) for i in range(views))]))
    process, url = jobs.start(folder, f"views{views}", data, 100, *CACHE)
    with process:
        before = process.cpu_s()
        found = jobs.finish(process, url, records, 0.5)
        assert metric(url, "millstream_dead_letters_total") == 0
    return 1e6 * (found["cpu_s"] - before) / (records * views)


def growth(jobs):
    small, many = KEYS[0], VIEWS[1]
    by_keys = {keys: keys_case(jobs, keys) for keys in KEYS}
    spread = keys_case(jobs, small, MANY_PARTITIONS, ((110, "Zipf"),))["Zipf"]
    few_views = views_case(jobs, VIEWS[0], 2_000_000)
    many_views = views_case(jobs, many, 5_000_000)
    cases = []
    for load, limit in (("Zipf", 2), ("uniform", 3.5)):
        for keys in KEYS[1:]:
            cases.append((f"{load}, {short(keys)} keys", f"{short(small)} keys", by_keys[keys][load], by_keys[small][load], limit))
    cases.append((f"Zipf, {MANY_PARTITIONS} partitions", "6 partitions", spread, by_keys[small]["Zipf"], 2))
    cases.append((f"{many:,} views", f"{VIEWS[0]} views", many_views, few_views, 2))
    charts.bars(CHART, "What a record costs, beside the small case", [(name, ours / base, limit) for name, _, ours, base, limit in cases])
    figures = [
        Figure(f"{name}: CPU microseconds a record", f"at most {limit:g}x", f"{ours:.2f}", f"{base:.2f} with {small_case}", f"{ours / base:.2f}x", ours <= limit * base)
        for name, small_case, ours, base, limit in cases
    ]
    return NOTE + "\n" + table(figures)

"""Nexmark's queries once more, in SQLite, over the same events.

Standard input: an object a line, {"topic": ..., "written": ms, ...columns}. Standard output: an object a line, {"query": ..., "rows": [...]}, rows as
objects of the columns that the query of bench/nexmark has. It knows nothing of streams: each query is computed over all events at once, so that
what a stream processor gives in the end can be compared with it. Windows of EMIT FINAL count once they are closed.
"""

import json
import re
import sqlite3
import sys

TABLES = {
    "person": "id, name, emailAddress, creditCard, city, state, dateTime, extra, written",
    "auction": "id, itemName, description, initialBid, reserve, dateTime, expires, seller, category, extra, written",
    "bid": "auction, bidder, price, channel, url, dateTime, extra, written",
    "side_input": "key, value, written",
}

# how long after its end a window of q7 is closed
Q7_GRACE_MS = 60_000

DAY = "strftime('%Y-%m-%d', dateTime / 1000, 'unixepoch')"
MINUTE = "strftime('%H:%M', dateTime / 1000, 'unixepoch')"
HOUR = "CAST(strftime('%H', dateTime / 1000, 'unixepoch') AS INTEGER)"
EURO = "printf('%d.%03d', price * 908 / 1000, price * 908 % 1000)"
COUNTS = """COUNT(*) AS total_bids,
    COUNT(*) FILTER (WHERE price < 10000) AS rank1_bids,
    COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
    COUNT(*) FILTER (WHERE price >= 1000000) AS rank3_bids"""


def distinct(column, name):
    return f"""COUNT(DISTINCT {column}) AS total_{name},
    COUNT(DISTINCT CASE WHEN price < 10000 THEN {column} END) AS rank1_{name},
    COUNT(DISTINCT CASE WHEN price >= 10000 AND price < 1000000 THEN {column} END) AS rank2_{name},
    COUNT(DISTINCT CASE WHEN price >= 1000000 THEN {column} END) AS rank3_{name}"""


STATISTICS = ", ".join([COUNTS, distinct("bidder", "bidders"), distinct("auction", "auctions")])

VALID_BIDS = "auction a JOIN bid b ON a.id = b.auction AND b.dateTime BETWEEN a.dateTime AND a.expires"

HOPS = """WITH RECURSIVE hop(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM hop WHERE n < 4),
counts AS (
    SELECT auction, (dateTime / 2000 - n) * 2000 AS starttime, COUNT(*) AS num FROM bid, hop GROUP BY 1, 2
)"""

SESSIONS = """WITH marked AS (
    SELECT bidder, dateTime, dateTime - LAG(dateTime) OVER (PARTITION BY bidder ORDER BY dateTime) > 10000 AS begins FROM bid
), numbered AS (
    SELECT bidder, dateTime, SUM(COALESCE(begins, 0)) OVER (PARTITION BY bidder ORDER BY dateTime) AS session FROM marked
)"""

QUERIES = {
    "q0": "SELECT auction, bidder, price, dateTime, extra FROM bid",
    "q1": f"SELECT auction, bidder, {EURO} AS price, dateTime, extra FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    "q3": """SELECT a.id, p.name, p.city, p.state FROM auction a JOIN person p ON a.seller = p.id
        WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')""",
    "q4": f"""SELECT category AS id, CAST(AVG(final) AS INTEGER) AS final
        FROM (SELECT a.category, MAX(b.price) AS final FROM {VALID_BIDS} GROUP BY a.id, a.category) GROUP BY category""",
    "q5": f"""{HOPS} SELECT auction, starttime, starttime + 10000 AS endtime, num FROM counts c
        WHERE num >= (SELECT MAX(num) FROM counts m WHERE m.starttime = c.starttime)""",
    "q7": f"""WITH maxima AS (SELECT dateTime / 10000 * 10000 AS starttime, MAX(price) AS maxprice FROM bid GROUP BY 1)
        SELECT b.auction, b.price, b.bidder, b.dateTime, b.extra FROM bid b JOIN maxima m
        ON b.price = m.maxprice AND b.dateTime >= m.starttime AND b.dateTime < m.starttime + 10000
        WHERE m.starttime + 10000 + {Q7_GRACE_MS} <= (SELECT MAX(dateTime) FROM bid)""",
    "q8": """SELECT DISTINCT p.id, p.name, p.dateTime / 10000 * 10000 AS starttime FROM person p
        JOIN auction a ON p.id = a.seller AND p.dateTime / 10000 = a.dateTime / 10000""",
    "q9": f"""SELECT * FROM (
        SELECT a.id, itemName, description, initialBid, reserve, a.dateTime, expires, seller, category, a.extra, b.auction, bidder, price,
            b.dateTime AS bid_dateTime, b.extra AS bid_extra,
            ROW_NUMBER() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.dateTime) AS place
        FROM {VALID_BIDS}) WHERE place <= 1""",
    "q10": f"SELECT auction, bidder, price, dateTime, extra, {DAY} AS dt, {MINUTE} AS hm FROM bid",
    "q11": f"""{SESSIONS} SELECT bidder, COUNT(*) AS bid_count, MIN(dateTime) AS starttime, MAX(dateTime) AS endtime
        FROM numbered GROUP BY bidder, session""",
    "q12": """SELECT bidder, COUNT(*) AS bid_count, written / 10000 * 10000 AS starttime, written / 10000 * 10000 + 10000 AS endtime
        FROM bid GROUP BY bidder, written / 10000""",
    "q13": """SELECT b.auction, b.bidder, b.price, b.dateTime, s.value FROM bid b JOIN side_input s ON b.auction % 10000 = s.key""",
    "q14": f"""SELECT auction, bidder, {EURO} AS price,
        CASE WHEN {HOUR} >= 8 AND {HOUR} <= 18 THEN 'dayTime' WHEN {HOUR} <= 6 OR {HOUR} >= 20 THEN 'nightTime' ELSE 'otherTime' END AS bidTimeType,
        dateTime, extra, LENGTH(extra) - LENGTH(REPLACE(extra, 'c', '')) AS c_counts
        FROM bid WHERE price * 908 > 1000000000 AND price * 908 < 50000000000""",
    "q15": f"SELECT {DAY} AS day, {STATISTICS} FROM bid GROUP BY 1",
    "q16": f"SELECT channel, {DAY} AS day, MAX({MINUTE}) AS minute, {STATISTICS} FROM bid GROUP BY 1, 2",
    "q17": f"""SELECT auction, {DAY} AS day, {COUNTS}, MIN(price) AS min_price, MAX(price) AS max_price,
        CAST(AVG(price) AS INTEGER) AS avg_price, SUM(price) AS sum_price FROM bid GROUP BY 1, 2""",
    "q18": """SELECT auction, bidder, price, channel, url, dateTime, extra FROM (
        SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC) AS place FROM bid) WHERE place <= 1""",
    "q19": """SELECT auction, bidder, price, channel, url, dateTime, extra, rank_number FROM (
        SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number FROM bid) WHERE rank_number <= 10""",
    "q20": """SELECT b.auction, bidder, price, channel, url, b.dateTime AS bid_dateTime, b.extra AS bid_extra, itemName, description, initialBid,
        reserve, a.dateTime AS auction_dateTime, expires, seller, category, a.extra AS auction_extra
        FROM bid b JOIN auction a ON b.auction = a.id WHERE a.category = 10""",
    "q21": """SELECT * FROM (
        SELECT auction, bidder, price, channel, CASE LOWER(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2'
            WHEN 'baidu' THEN '3' ELSE channel_id(url) END AS channel_id FROM bid) WHERE channel_id IS NOT NULL""",
    "q22": """SELECT auction, bidder, price, channel, folder(url, 3) AS dir1, folder(url, 4) AS dir2, folder(url, 5) AS dir3 FROM bid""",
}


def channel_id(url):
    found = re.search("(&|^)channel_id=([^&]*)", url)
    return found and found.group(2)


def main():
    database = sqlite3.connect(":memory:")
    database.create_function("channel_id", 1, channel_id)
    database.create_function("folder", 2, lambda url, i: url.split("/")[i])
    for table, columns in TABLES.items():
        database.execute(f"CREATE TABLE {table} ({columns})")
    for line in sys.stdin:
        event = json.loads(line)
        names = TABLES[event["topic"]].split(", ")
        holes = ", ".join("?" * len(names))
        database.execute(f"INSERT INTO {event['topic']} VALUES ({holes})", [event[name] for name in names])
    database.execute("CREATE INDEX bids ON bid (auction)")
    for query, text in QUERIES.items():
        cursor = database.execute(text)
        names = [column[0].upper() for column in cursor.description]
        rows = [dict(zip(names, row)) for row in cursor]
        for row in rows:
            row.pop("PLACE", None)
        print(json.dumps({"query": query, "rows": rows}))


if __name__ == "__main__":
    main()

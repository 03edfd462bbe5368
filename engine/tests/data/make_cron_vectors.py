"""Makes cron_vectors.json: ticks of cron expressions by croniter and pendulum, across clock changes.

    python3 -m venv v && v/bin/pip install croniter==7.0.0 pendulum==3.3.0
    v/bin/python make_cron_vectors.py > cron_vectors.json

The rule for clock changes is the one the planner promises: expressions that run every hour step by
elapsed time, all others name wall-clock times, where a time in the fold is the later of the two and
one in the gap moves forward by the gap.
"""

import datetime as dt
import json

import pendulum
from croniter import croniter

UTC = dt.timezone.utc


def tick(expr, zone, at, forward):
    naive = at.in_timezone(zone).naive()
    cron = croniter(expr, start_time=naive)
    found = (cron.get_next if forward else cron.get_prev)(dt.datetime)
    if cron.expanded[1] == ["*"]:
        return (at + (found - naive)) if forward else (at - (naive - found))
    return pendulum.timezone(zone).convert(
        pendulum.naive(*found.timetuple()[:6], fold=1)
    ).in_timezone("UTC")


def walk(expr, zone, start, count, forward):
    at, out = start, []
    for _ in range(count):
        at = pendulum.instance(tick(expr, zone, at, forward)).in_timezone("UTC")
        out.append(at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    return out


EXPRESSIONS = [
    "0 0 * * *", "30 2 * * *", "15,45 1-3 * * *", "0 * * * *", "*/20 * * * *", "*/30 */2 * * *",
    "5 0-23 * * *", "10 2 * * sun", "0 3 * * 7", "0 12 1,15 * fri", "0 0 l * *", "0 9 * * mon#2",
    "0 9 * * l5", "0 22-2 * * *", "0 6 * * fri-mon", "0 0 29 2 *", "5/25 4 * * *", "0 1 */10 * *",
    "0 0 1-31 * 1", "0 0 */2 * 3", "* * * * * */20", "0 2 * * * 30", "0 0 1 jan-mar/2 *", "59 23 31 12 *",
]
PLACES = [
    ("UTC", ["2024-02-27T23:59:59Z"]),
    ("Europe/Berlin", ["2024-03-30T22:10:00Z", "2024-10-26T21:40:00Z", "2024-10-27T00:30:00Z"]),
    ("America/New_York", ["2024-03-10T04:00:00Z", "2024-11-03T04:15:00Z", "2024-11-03T05:45:30Z"]),
    ("Australia/Lord_Howe", ["2024-04-06T13:00:00Z", "2024-10-05T14:00:00Z"]),
    ("Asia/Kolkata", ["2023-12-31T18:29:59Z"]),
]

vectors = []
for zone, starts in PLACES:
    for start in starts:
        at = pendulum.parse(start)
        for expr in EXPRESSIONS:
            vectors.append({
                "expr": expr, "zone": zone, "start": start,
                "next": walk(expr, zone, at, 8, True),
                "prev": walk(expr, zone, at, 4, False),
            })
print("[\n" + ",\n".join(json.dumps(v) for v in vectors) + "\n]")

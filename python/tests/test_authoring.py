"""The authoring module alone: dates, cron, connections, XCom values."""

from __future__ import annotations

import datetime as dt
import json
import unittest
from decimal import Decimal
from unittest import mock
from zoneinfo import ZoneInfo

import driver  # noqa: F401 - puts our package on sys.path

from airflow._core import cron
from airflow._core.calls import call_with_context
from airflow._core.connections import Connection
from airflow._core.datetimes import DateTime, aware, get_zone, parse, zone_name
from airflow.utils import timezone
from airflow.utils.dates import days_ago
from tradewind_host import xcoms

UTC = dt.timezone.utc


class DatesTest(unittest.TestCase):
    def test_wall_clock_and_exact_arithmetic_across_dst(self):
        before = DateTime(2024, 3, 30, 12, tzinfo=get_zone("Europe/Berlin"))
        self.assertEqual(before.add(days=1).isoformat(), "2024-03-31T12:00:00+02:00")
        self.assertEqual(before.add(hours=24).isoformat(), "2024-03-31T13:00:00+02:00")
        self.assertEqual(DateTime(2024, 1, 31).add(months=1).day, 29)
        self.assertEqual(DateTime(2024, 3, 1).subtract(days=1).to_date_string(), "2024-02-29")

    def test_reading_and_naming(self):
        self.assertEqual(parse("2024-01-02T03:04:05.123456789Z").microsecond, 123456)
        self.assertEqual(parse("20240102").isoformat(), "2024-01-02T00:00:00+00:00")
        self.assertEqual(parse("2024-01-02 03:04+0530").offset, 19800)
        self.assertRaises(ValueError, parse, "soon")
        self.assertEqual(zone_name(ZoneInfo("Asia/Tokyo")), "Asia/Tokyo")
        self.assertEqual(zone_name(dt.timezone(dt.timedelta(hours=2))), "Etc/GMT-2")
        self.assertIsNone(zone_name(dt.timezone(dt.timedelta(minutes=90))))
        day = aware(dt.date(2024, 1, 2), ZoneInfo("Asia/Tokyo"))
        self.assertEqual(day.isoformat(), "2024-01-02T00:00:00+09:00")

    def test_read_out(self):
        moment = DateTime(2024, 1, 2, 15, 4, 5, tzinfo=UTC)
        self.assertEqual(moment.format("YYYY/MM/DD [at] h:mm A"), "2024/01/02 at 3:04 PM")
        self.assertEqual(str(moment.start_of("week")), "2024-01-01T00:00:00+00:00")
        self.assertEqual(moment.end_of("month").day, 31)
        self.assertEqual((moment - moment.subtract(hours=50)).in_days(), 2)
        self.assertIsInstance(moment + dt.timedelta(days=1), DateTime)
        self.assertEqual(moment.in_timezone("Asia/Tokyo").day, 3)

    def test_helpers(self):
        self.assertEqual(days_ago(2).hour, 0)
        self.assertEqual(dt.datetime.now(UTC).date() - days_ago(2).date(), dt.timedelta(days=2))
        self.assertRaises(ValueError, timezone.make_aware, DateTime(2024, 1, 1, tzinfo=UTC))
        self.assertEqual(timezone.datetime(2024, 1, 1).isoformat(), "2024-01-01T00:00:00+00:00")


class CronTest(unittest.TestCase):
    def test_neighbours(self):
        moment = dt.datetime(2024, 1, 31, 0, 0, tzinfo=UTC)
        cases = [
            ("0 0 * * *", "2024-02-01T00:00", "2024-01-30T00:00"),
            ("*/20 3 * * *", "2024-01-31T03:00", "2024-01-30T03:40"),
            ("0 0 1 * *", "2024-02-01T00:00", "2024-01-01T00:00"),
            ("0 9 * * mon-fri", "2024-01-31T09:00", "2024-01-30T09:00"),
            ("0 0 13 * 5", "2024-02-02T00:00", "2024-01-26T00:00"),
            ("0 0 29 2 *", "2024-02-29T00:00", "2020-02-29T00:00"),
            ("0 0 * * 7", "2024-02-04T00:00", "2024-01-28T00:00"),
        ]
        for expression, after, before in cases:
            with self.subTest(expression):
                found = cron.next_after(expression, moment, UTC).isoformat()
                self.assertEqual(found, after + ":00+00:00")
                found = cron.previous_before(expression, moment, UTC).isoformat()
                self.assertEqual(found, before + ":00+00:00")
        self.assertIsNone(cron.next_after("0 0 30 2 *", moment, UTC))
        self.assertIsNone(cron.next_after("nonsense", moment, UTC))
        tokyo = cron.next_after("0 0 * * *", moment, ZoneInfo("Asia/Tokyo"))
        self.assertEqual(tokyo.isoformat(), "2024-01-31T15:00:00+00:00")


class XComValuesTest(unittest.TestCase):
    def test_round_trip(self):
        values = [
            None,
            {"a": [1, 2.5, "ü", True]},
            (1, (2, {3})),
            {"when": dt.datetime(2024, 1, 2, 3, tzinfo=UTC), "day": dt.date(2024, 1, 2)},
            dt.time(1, 2),
            dt.timedelta(hours=1.5),
            Decimal("1.10"),
            frozenset({"x"}),
            b"\x00\xff",
            {"__type": "mine", "__var": (1,)},
            {"__type": "tuple", "__var": [1]},
            dt.datetime(2024, 1, 2),
        ]
        for value in values:
            with self.subTest(repr(value)):
                back = xcoms.decode(json.loads(xcoms.encode(value)))
                self.assertEqual(back, value)
                self.assertIs(isinstance(back, tuple), isinstance(value, tuple))

    def test_refusals(self):
        deep: list = []
        for _ in range(100):
            deep = [deep]
        for value in (object(), {"a": float("nan")}, {(1, 2): 3}, deep):
            self.assertRaises(xcoms.NotJson, xcoms.encode, value)


class CallsTest(unittest.TestCase):
    def test_what_a_function_gets(self):
        context = {"ds": "2024", "ti": 1}
        call = call_with_context
        self.assertEqual(call(lambda ds: ds, (), {}, context), "2024")
        self.assertEqual(call(lambda a, ds="no": (a, ds), (5,), {}, context), (5, "2024"))
        self.assertEqual(call(lambda **k: sorted(k), (), {"x": 1}, context), ["ds", "ti", "x"])
        self.assertEqual(call(lambda ds: ds, (), {"ds": "own"}, context), "own")
        self.assertEqual(call(lambda ds: ds, ("own",), {}, context), "own")
        self.assertRaises(TypeError, call, lambda: 1, (), {"x": 1}, context)
        self.assertRaises(ValueError, call, lambda a: a, (1,), {"a": 2}, context)


class ConnectionsTest(unittest.TestCase):
    def test_uri_and_json(self):
        uri = "postgres://me:p%40ss@db.local:5433/shop?sslmode=require"
        text = '{"conn_type": "http", "host": "h", "extra": {"a": 1}}'
        with mock.patch.dict("os.environ", {"AIRFLOW_CONN_PG": uri, "AIRFLOW_CONN_WEB": text}):
            pg, web = Connection.get("pg"), Connection.get("web")
        self.assertEqual((pg.login, pg.password, pg.port), ("me", "p@ss", 5433))
        self.assertEqual((pg.host, pg.schema), ("db.local", "shop"))
        self.assertEqual(pg.extra_dejson, {"sslmode": "require"})
        self.assertEqual((web.host, web.extra_dejson), ("h", {"a": 1}))


if __name__ == "__main__":
    unittest.main()

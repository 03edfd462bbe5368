"""Time zone helpers by their 3.x path."""

from airflow.utils.timezone import coerce_datetime, datetime, make_aware, parse, utc, utcnow

__all__ = ["coerce_datetime", "datetime", "make_aware", "parse", "utc", "utcnow"]

"""Date helpers of 1.10 and 2.x."""

from __future__ import annotations

from airflow._core import datetimes
from airflow._core.schedule import PRESETS

cron_presets = {
    name: text for name, text in PRESETS.items() if name not in ("@midnight", "@annually")
}


def days_ago(n, hour=0, minute=0, second=0, microsecond=0):
    """Midnight UTC `n` days before today, at the given time of day."""
    today = datetimes.now().replace(
        hour=hour, minute=minute, second=second, microsecond=microsecond
    )
    return today.subtract(days=n)


def parse_execution_date(execution_date_str: str):
    return datetimes.parse(execution_date_str)

"""Zones by the path `pendulum.tz`."""

from airflow._core.datetimes import Timezone, get_zone
from airflow._core.datetimes import get_zone as timezone

__all__ = ["UTC", "Timezone", "timezone"]

UTC = get_zone("UTC")

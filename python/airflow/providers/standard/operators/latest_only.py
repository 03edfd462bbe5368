"""Operators by their provider path (3.x)."""

from airflow._core.plain import LatestOnlyOperator

__all__ = ["LatestOnlyOperator"]

"""Operators by their 2.x path."""

from airflow._core.plain import LatestOnlyOperator

__all__ = ["LatestOnlyOperator"]

"""Operators by their 1.10 path."""

from airflow._core.plain import LatestOnlyOperator

__all__ = ["LatestOnlyOperator"]

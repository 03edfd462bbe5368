"""Operators by their 1.10 path."""

from airflow._core.plain import DummyOperator

__all__ = ["DummyOperator"]

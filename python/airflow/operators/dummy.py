"""Operators by their early 2.x path."""

from airflow._core.plain import DummyOperator, EmptyOperator

__all__ = ["DummyOperator", "EmptyOperator"]

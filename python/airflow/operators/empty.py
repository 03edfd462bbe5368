"""Operators by their 2.x path."""

from airflow._core.plain import EmptyOperator

__all__ = ["EmptyOperator"]

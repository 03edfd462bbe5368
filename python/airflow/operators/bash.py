"""Operators by their 2.x path."""

from airflow._core.bash import BashOperator

__all__ = ["BashOperator"]

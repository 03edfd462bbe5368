"""Operators by their 1.10 path."""

from airflow._core.bash import BashOperator

__all__ = ["BashOperator"]

"""Operators by their provider path (3.x)."""

from airflow._core.bash import BashOperator

__all__ = ["BashOperator"]

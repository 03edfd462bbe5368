"""Operators by their 2.x path."""

from airflow._core.python import BaseBranchOperator

__all__ = ["BaseBranchOperator"]

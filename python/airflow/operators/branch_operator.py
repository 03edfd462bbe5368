"""Operators by their old path."""

from airflow._core.python import BaseBranchOperator

__all__ = ["BaseBranchOperator"]

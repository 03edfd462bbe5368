"""Operators by their provider path (3.x)."""

from airflow._core.python import BaseBranchOperator

__all__ = ["BaseBranchOperator"]

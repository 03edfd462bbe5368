"""Operators, also by the short path that 1.10 allowed."""

from airflow._core.bash import BashOperator
from airflow._core.lazy import submodules
from airflow._core.operator import BaseOperator
from airflow._core.plain import DummyOperator
from airflow._core.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator

__all__ = [
    "BaseOperator",
    "BashOperator",
    "BranchPythonOperator",
    "DummyOperator",
    "PythonOperator",
    "ShortCircuitOperator",
]

__getattr__ = submodules(__name__)

"""Classes that DAG files import from `airflow.models`."""

from airflow._core.dag import DAG
from airflow._core.operator import BaseOperator
from airflow._core.params import Param
from airflow._core.runs import DagRun, TaskInstance
from airflow._core.skipping import SkipMixin
from airflow._core.variables import Variable
from airflow._core.xcomarg import XCOM_RETURN_KEY, XComArg
from airflow.models.xcom import XCom

__all__ = [
    "DAG",
    "XCOM_RETURN_KEY",
    "BaseOperator",
    "DagRun",
    "Param",
    "SkipMixin",
    "TaskInstance",
    "Variable",
    "XCom",
    "XComArg",
]

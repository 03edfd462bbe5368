"""Classes that DAG files import from `airflow.models`."""

from airflow._core.connections import Connection
from airflow._core.dag import DAG
from airflow._core.lazy import submodules
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
    "Connection",
    "DagRun",
    "Param",
    "SkipMixin",
    "TaskInstance",
    "Variable",
    "XCom",
    "XComArg",
]

__getattr__ = submodules(__name__)

"""Tradewind's own DAG-authoring module, importable as `airflow`.

It lets DAG files written for Airflow 1.10, 2.x and 3.x be read and run without changes. It never
schedules, stores or sends anything: that is the work of the `tradewind` binary.
"""

from airflow._core.dag import DAG
from airflow._core.lazy import submodules
from airflow._core.xcomarg import XComArg
from airflow.exceptions import AirflowException
from airflow.version import version as __version__

__all__ = ["DAG", "AirflowException", "XComArg", "__version__"]

__getattr__ = submodules(__name__)

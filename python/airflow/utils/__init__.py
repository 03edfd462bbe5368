"""Helpers that DAG files import."""

from airflow._core.lazy import submodules

__getattr__ = submodules(__name__)

"""`DAG` by its module path."""

from airflow._core.dag import DAG, dag

__all__ = ["DAG", "dag"]

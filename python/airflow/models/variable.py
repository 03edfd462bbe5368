"""`Variable` by its module path."""

from airflow._core.variables import Variable

__all__ = ["Variable"]

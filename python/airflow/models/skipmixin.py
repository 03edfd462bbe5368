"""`SkipMixin` by its module path."""

from airflow._core.skipping import SkipMixin

__all__ = ["SkipMixin"]

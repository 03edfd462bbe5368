"""Task groups."""

from airflow._core.group import TaskGroup

__all__ = ["TaskGroup"]

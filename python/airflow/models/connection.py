"""Connections by their module path."""

from airflow._core.connections import Connection

__all__ = ["Connection"]

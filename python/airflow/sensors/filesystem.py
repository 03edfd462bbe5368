"""Sensors by their 2.x path."""

from airflow._core.sensors import FileSensor

__all__ = ["FileSensor"]

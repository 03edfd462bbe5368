"""Sensors by their provider path (3.x)."""

from airflow._core.sensors import FileSensor

__all__ = ["FileSensor"]

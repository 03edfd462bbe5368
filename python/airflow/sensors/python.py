"""Sensors by their 2.x path."""

from airflow._core.sensors import PythonSensor

__all__ = ["PythonSensor"]

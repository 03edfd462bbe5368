"""Sensors by their provider path (3.x)."""

from airflow._core.sensors import PythonSensor

__all__ = ["PythonSensor"]

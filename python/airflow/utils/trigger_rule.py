"""Trigger rules."""

from airflow._core.rules import TriggerRule

__all__ = ["TriggerRule"]

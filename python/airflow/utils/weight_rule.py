"""Weight rules."""

from airflow._core.rules import WeightRule

__all__ = ["WeightRule"]

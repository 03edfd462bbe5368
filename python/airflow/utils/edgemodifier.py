"""Edge labels."""

from airflow._core.edges import EdgeModifier, Label

__all__ = ["EdgeModifier", "Label"]

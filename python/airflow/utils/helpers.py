"""Chain helpers by their 1.10 path."""

from airflow._core.edges import chain, cross_downstream

__all__ = ["chain", "cross_downstream"]

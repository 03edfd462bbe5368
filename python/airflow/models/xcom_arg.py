"""`XComArg` by its module path."""

from airflow._core.xcomarg import XComArg

__all__ = ["XComArg"]

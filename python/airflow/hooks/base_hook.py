"""Hooks by their 1.10 path."""

from airflow._core.connections import BaseHook

__all__ = ["BaseHook"]

"""Hooks by their 2.x path."""

from airflow._core.connections import BaseHook

__all__ = ["BaseHook"]

"""Helpers that DAG files import."""

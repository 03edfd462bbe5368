"""Runs Python for the `tradewind` binary: a parser for DAG files and a warm host for tasks.

The protocols are in docs/task-host.md. Needs nothing but the standard library.
"""

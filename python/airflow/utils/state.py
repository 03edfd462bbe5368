"""States of runs and task instances."""

from __future__ import annotations

from airflow._core.rules import DagRunState, TaskInstanceState

__all__ = ["DagRunState", "State", "TaskInstanceState"]


class State:
    """State names as plain constants."""

    SUCCESS = TaskInstanceState.SUCCESS
    FAILED = TaskInstanceState.FAILED
    RUNNING = TaskInstanceState.RUNNING
    QUEUED = TaskInstanceState.QUEUED
    SCHEDULED = TaskInstanceState.SCHEDULED
    SKIPPED = TaskInstanceState.SKIPPED
    REMOVED = TaskInstanceState.REMOVED
    UPSTREAM_FAILED = TaskInstanceState.UPSTREAM_FAILED
    UP_FOR_RETRY = TaskInstanceState.UP_FOR_RETRY
    UP_FOR_RESCHEDULE = TaskInstanceState.UP_FOR_RESCHEDULE
    DEFERRED = TaskInstanceState.DEFERRED
    NONE = None

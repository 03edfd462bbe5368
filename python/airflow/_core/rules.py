"""Names of trigger rules, weight rules and states, and how written names become canonical ones."""

from __future__ import annotations

from enum import Enum

from airflow.exceptions import AirflowException


class TextEnum(str, Enum):
    """A string enum whose `str()` is its value on every Python version."""

    def __str__(self) -> str:
        return self.value


class TriggerRule(TextEnum):
    """When a task runs, given the states of its direct upstreams."""

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_DONE_MIN_ONE_SUCCESS = "all_done_min_one_success"
    ALL_DONE_SETUP_SUCCESS = "all_done_setup_success"
    ALL_SKIPPED = "all_skipped"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ALWAYS = "always"
    # Older names; `canonical_trigger_rule` maps them.
    DUMMY = "dummy"
    NONE_FAILED_OR_SKIPPED = "none_failed_or_skipped"

    @classmethod
    def is_valid(cls, name) -> bool:
        return name in {rule.value for rule in cls}

    @classmethod
    def all_triggers(cls) -> set[str]:
        return {rule.value for rule in cls} - set(_TRIGGER_ALIASES)


_TRIGGER_ALIASES = {"dummy": "always", "none_failed_or_skipped": "none_failed_min_one_success"}


class WeightRule(TextEnum):
    """How priority weights add up along the graph."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    ABSOLUTE = "absolute"


class TaskInstanceState(TextEnum):
    """States of a task instance."""

    REMOVED = "removed"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    RESTARTING = "restarting"
    FAILED = "failed"
    UP_FOR_RETRY = "up_for_retry"
    UP_FOR_RESCHEDULE = "up_for_reschedule"
    UPSTREAM_FAILED = "upstream_failed"
    SKIPPED = "skipped"
    DEFERRED = "deferred"


class DagRunState(TextEnum):
    """States of a DAG run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class DagRunType(TextEnum):
    """How a run came to be."""

    BACKFILL_JOB = "backfill"
    SCHEDULED = "scheduled"
    MANUAL = "manual"
    ASSET_TRIGGERED = "asset_triggered"


def canonical_trigger_rule(rule) -> str:
    """The name the scheduler knows; raises on names that no generation has."""
    name = rule.value if isinstance(rule, Enum) else rule
    name = _TRIGGER_ALIASES.get(name, name) if isinstance(name, str) else name
    if name not in TriggerRule.all_triggers():
        allowed = ", ".join(sorted(TriggerRule.all_triggers()))
        raise AirflowException(f"the trigger_rule {name!r} is unknown; it must be one of {allowed}")
    return name


def canonical_weight_rule(rule) -> str:
    """The name the scheduler knows; custom strategies are refused."""
    name = rule.value if isinstance(rule, Enum) else rule
    if name not in {r.value for r in WeightRule}:
        raise AirflowException(
            f"the weight_rule {name!r} is unknown; it must be downstream, upstream or absolute"
        )
    return name

"""Operators that do nothing, and the one that lets only the latest run pass."""

from __future__ import annotations

import datetime as dt

from airflow._core import cron
from airflow._core.operator import BaseOperator
from airflow._core.schedule import PRESETS
from airflow._core.skipping import SkipMixin


class EmptyOperator(BaseOperator):
    """Does nothing; the scheduler lets it succeed without a worker."""

    ui_color = "#e8f7e4"

    def execute(self, context):
        return None


class DummyOperator(EmptyOperator):
    """Older name of `EmptyOperator`."""


class LatestOnlyOperator(BaseOperator, SkipMixin):
    """Skips its direct downstreams when a later scheduled run is due already."""

    ui_color = "#e9ffdb"

    def execute(self, context):
        run = context["dag_run"]
        if run.run_type == "manual":
            self.log.info("manual run: all downstream tasks go on")
            return
        end = run.data_interval_end or run.run_after
        following = following_tick(self.dag, end)
        now = dt.datetime.now(dt.timezone.utc)
        if following is None or now <= following:
            self.log.info("this is the latest run: all downstream tasks go on")
            return
        self.log.info("a later run was due at %s: skipping downstream tasks", following)
        self.skip_downstream(context["ti"], everything=False)


def following_tick(dag, moment: dt.datetime) -> dt.datetime | None:
    """When the DAG is due next after `moment`; None when that cannot be known."""
    schedule = dag.effective_schedule
    if isinstance(schedule, dt.timedelta):
        return moment + schedule
    expression = PRESETS.get(schedule, schedule)
    if not isinstance(expression, str) or expression.startswith("@") or expression == "None":
        return None
    return cron.next_after(expression, moment, dag.timezone)


def preceding_tick(dag, moment: dt.datetime) -> dt.datetime | None:
    """When the DAG was due last before `moment`; None when that cannot be known."""
    schedule = dag.effective_schedule
    if isinstance(schedule, dt.timedelta):
        return moment - schedule
    expression = PRESETS.get(schedule, schedule)
    if not isinstance(expression, str) or expression.startswith("@") or expression == "None":
        return None
    return cron.previous_before(expression, moment, dag.timezone)

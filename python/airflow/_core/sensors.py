"""Sensors: tasks that wait for something by asking again and again.

They keep their process while they wait; `mode="reschedule"` is accepted and waits the same way.
"""

from __future__ import annotations

import datetime as dt
import glob
import os
import time
from collections.abc import Callable

from airflow._core.calls import call_with_context
from airflow._core.operator import BaseOperator
from airflow._core.registry import session
from airflow.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException

WEEK_SECONDS = 7 * 24 * 3600.0
BACKOFF_SECONDS_MAX = 3600.0


class PokeReturnValue:
    """A sensor's answer with a value for XCom."""

    def __init__(self, is_done: bool, xcom_value=None):
        self.is_done = bool(is_done)
        self.xcom_value = xcom_value

    def __bool__(self) -> bool:
        return self.is_done


class BaseSensorOperator(BaseOperator):
    """Subclasses override `poke(context)`; it is called until it returns something true."""

    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
        poke_interval=60.0,
        timeout=WEEK_SECONDS,
        soft_fail: bool = False,
        mode: str = "poke",
        exponential_backoff: bool = False,
        max_wait=None,
        silent_fail: bool = False,
        never_fail: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if mode not in ("poke", "reschedule"):
            raise AirflowException(f"the sensor mode must be poke or reschedule, got {mode!r}")
        if mode == "reschedule":
            session().warn(f"task {self.task_id!r}: the sensor keeps its slot while it waits")
        self.poke_interval = _seconds(poke_interval)
        self.timeout = _seconds(timeout)
        self.soft_fail = soft_fail
        self.mode = mode
        self.exponential_backoff = exponential_backoff
        self.max_wait = BACKOFF_SECONDS_MAX if max_wait is None else _seconds(max_wait)
        self.silent_fail = silent_fail
        self.never_fail = never_fail

    def poke(self, context):
        raise AirflowException(f"{type(self).__name__} must override poke()")

    def execute(self, context):
        deadline = time.monotonic() + self.timeout
        wait = self.poke_interval
        while True:
            answer = self._ask(context)
            if answer:
                self.log.info("success criteria met")
                return answer.xcom_value if isinstance(answer, PokeReturnValue) else None
            if time.monotonic() + wait > deadline:
                text = f"the sensor waited longer than its timeout of {self.timeout:g} s"
                raise (AirflowSkipException if self._skips else AirflowSensorTimeout)(text)
            time.sleep(wait)
            if self.exponential_backoff:
                wait = min(wait * 2, self.max_wait)

    @property
    def _skips(self) -> bool:
        return self.soft_fail or self.never_fail

    def _ask(self, context):
        try:
            return self.poke(context)
        except AirflowSkipException:
            raise
        except Exception as error:
            if self.silent_fail:
                self.log.exception("poke failed")
                return False
            if self._skips:
                raise AirflowSkipException(f"poke failed: {error}") from error
            raise


class PythonSensor(BaseSensorOperator):
    """Waits until a function returns something true."""

    template_fields = ("templates_dict", "op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable,
        op_args=None,
        op_kwargs=None,
        templates_dict=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.python_callable = python_callable
        self.op_args = op_args or ()
        self.op_kwargs = op_kwargs or {}
        self.templates_dict = templates_dict

    def poke(self, context):
        context["templates_dict"] = self.templates_dict
        answer = call_with_context(self.python_callable, self.op_args, self.op_kwargs, context)
        return answer if isinstance(answer, PokeReturnValue) else bool(answer)


class FileSensor(BaseSensorOperator):
    """Waits until a file (or a match of a pattern) exists on the worker."""

    template_fields = ("filepath",)

    def __init__(self, *, filepath, fs_conn_id="fs_default", recursive=False, **kwargs):
        super().__init__(**kwargs)
        self.filepath = filepath
        self.fs_conn_id = fs_conn_id
        self.recursive = recursive

    def poke(self, context):
        for path in glob.iglob(os.fspath(self.filepath), recursive=self.recursive):
            if os.path.isfile(path) or any(files for _, _, files in os.walk(path)):
                return True
        return False


def _seconds(value) -> float:
    seconds = value.total_seconds() if isinstance(value, dt.timedelta) else float(value)
    if seconds < 0:
        raise AirflowException(f"sensor times must not be negative, got {value!r}")
    return seconds

"""Runs one operator and turns whatever happens into an outcome."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from airflow._core.xcomarg import replace_resolvables
from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from tradewind_host import errors, templates, xcoms

MESSAGE_CHARS_MAX = 4000


class Execution:
    """One attempt of one task; `run()` never raises."""

    def __init__(self, task, context: dict, frame: dict, outbox, renderer):
        self._task = task
        self._context = context
        self._frame = frame
        self._outbox = outbox
        self._renderer = renderer
        self._log = logging.getLogger("airflow.task")

    def run(self) -> dict:
        """The members of the last frame."""
        state, message, rendered = "success", "", None
        try:
            rendered = self._render()
            if self._frame.get("mode") != "render":
                self._execute()
        except AirflowSkipException as error:
            self._log.info("skipped: %s", error)
            state, message = "skipped", str(error)
            self._call("on_skipped_callback")
        except BaseException as error:
            state, message = self._failed(error)
        outcome = {"state": state, "message": message[:MESSAGE_CHARS_MAX], **self._outbox.report()}
        if self._frame.get("mode") == "render" and state == "success":
            outcome["rendered"] = rendered
        return outcome

    def _render(self) -> list[dict]:
        """Puts rendered values into the operator; returns those rendered here."""
        for item in self._frame.get("rendered") or []:
            templates.put(self._task, item["path"], xcoms.decode(item["value"]))
        here = []
        for item in self._frame.get("unrendered") or []:
            value = self._renderer.field(item, self._context)
            templates.put(self._task, item["path"], value)
            here.append({"path": item["path"], "value": value})
        return here

    def _execute(self) -> None:
        task, context = self._task, self._context
        for name in task.template_fields:
            value = getattr(task, name, None)
            task.__dict__[name] = replace_resolvables(value, lambda x: x.resolve(context))
        self._call("on_execute_callback")
        task.pre_execute(context)
        result = task.execute(context)
        task.post_execute(context, result)
        self._push(result)
        context["ti"].state = "success"
        self._call("on_success_callback")

    def _push(self, result) -> None:
        if result is None or not self._task.do_xcom_push:
            return
        if self._task.multiple_outputs:
            if not isinstance(result, Mapping):
                raise AirflowException(
                    f"the task has multiple outputs and must return a dict, not {type(result)}"
                )
            for key, value in result.items():
                if not isinstance(key, str):
                    raise AirflowException(f"keys of multiple outputs must be texts, not {key!r}")
                self._outbox.push(key, value)
        self._outbox.push("return_value", result)

    def _failed(self, error: BaseException) -> tuple[str, str]:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, SystemExit):
            text = f"the task ended its interpreter: SystemExit({error.code!r})"
        sys.stdout.flush()
        print(errors.trace(error), file=sys.stderr, end="", flush=True)
        ti = self._context["ti"]
        final = isinstance(error, AirflowFailException) or not ti.is_eligible_to_retry()
        ti.state = "failed" if final else "up_for_retry"
        self._context["exception"] = error
        self._call("on_failure_callback" if final else "on_retry_callback")
        no_retry = isinstance(error, AirflowFailException)
        return ("failed_no_retry" if no_retry else "failed"), text

    def _call(self, name: str) -> None:
        """Callbacks cannot change how the task ended."""
        if self._frame.get("mode") == "render":
            return
        for callback in getattr(self._task, name):
            try:
                callback(self._context)
            except Exception:
                self._log.exception("%s failed", name)

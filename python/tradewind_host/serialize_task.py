"""Tasks as `proto::dag::TaskSpec`, and the choice of their runtime."""

from __future__ import annotations

from airflow._core import operator_arguments
from airflow._core.bash import BashOperator
from airflow._core.operator import BaseOperator
from airflow._core.plain import EmptyOperator
from airflow._core.rules import canonical_trigger_rule, canonical_weight_rule
from airflow._core.xcomarg import replace_resolvables
from tradewind_host import templates
from tradewind_host.errors import SpecError

U32_MAX = 2**32 - 1
_BASH_FIELDS = ("bash_command", "env", "cwd")
_HOOKS = ("execute", "pre_execute", "post_execute", "on_kill")


def task_spec(op, folders: list[str]) -> dict:
    """One task; raises `SpecError` when it cannot be used."""
    runtime = choose_runtime(op)
    args = {}
    fields = None
    if runtime == "bash":
        fields = _BASH_FIELDS
        args = _bash_args(op)
    spec = {
        "task_id": op.task_id,
        "operator": op.task_type,
        "runtime": runtime,
        "upstream": sorted(op.upstream_task_ids),
        "trigger_rule": canonical_trigger_rule(op.trigger_rule),
        "queue": str(op.queue),
        "pool": str(op.pool),
        "pool_slots": _u32(op, "pool_slots"),
        "priority_weight": op.priority_weight,
        "weight_rule": canonical_weight_rule(op.weight_rule),
        "retries": _u32(op, "retries"),
        "retry_delay": op.retry_delay.total_seconds(),
        "retry_exponential_backoff": backoff(op.retry_exponential_backoff),
        "max_retry_delay": op.max_retry_delay and op.max_retry_delay.total_seconds(),
        "execution_timeout": op.execution_timeout and op.execution_timeout.total_seconds(),
        "depends_on_past": bool(op.depends_on_past),
        "wait_for_downstream": bool(op.wait_for_downstream),
        "max_active_tis_per_dag": _u32(op, "max_active_tis_per_dag"),
        "max_active_tis_per_dagrun": _u32(op, "max_active_tis_per_dagrun"),
        "is_setup": bool(op.is_setup),
        "is_teardown": bool(op.is_teardown),
        "on_failure_fail_dagrun": bool(op.on_failure_fail_dagrun),
        "owner": str(op.owner),
        "do_xcom_push": bool(op.do_xcom_push),
        "templates": templates.collect(op, folders, fields) if runtime != "empty" else [],
        "args": args,
        "doc_md": None if op.doc_md is None and op.doc is None else str(op.doc_md or op.doc),
    }
    return {name: value for name, value in spec.items() if value is not None}


def choose_runtime(op) -> str:
    """`empty` and `bash` only when nothing of the author's Python would have to run."""
    if operator_arguments.has_callbacks(op):
        return "python"
    if isinstance(op, EmptyOperator) and _untouched(op, EmptyOperator):
        return "empty"
    if isinstance(op, BashOperator) and _untouched(op, BashOperator) and not op.output_processor:
        return "bash"
    return "python"


def _untouched(op, base: type[BaseOperator]) -> bool:
    return all(getattr(type(op), name) is getattr(base, name) for name in _HOOKS)


def _bash_args(op) -> dict:
    """Plain values; outputs of other tasks become templates that the worker renders."""
    for name in _BASH_FIELDS:
        setattr(op, name, replace_resolvables(getattr(op, name), str))
    if not isinstance(op.bash_command, str) or not op.bash_command:
        raise SpecError(
            f"task {op.task_id!r}: bash_command must be a text that is not empty, "
            f"got {op.bash_command!r}",
            op.line,
        )
    if op.cwd is not None and not isinstance(op.cwd, str):
        op.cwd = str(op.cwd)
    return {
        "bash_command": op.bash_command,
        "env": _env(op),
        "append_env": op.append_env,
        "cwd": op.cwd,
        "skip_on_exit_code": _exit_codes(op),
    }


def _env(op) -> dict | None:
    if op.env is None:
        return None
    if not isinstance(op.env, dict):
        raise SpecError(f"task {op.task_id!r}: env must be a dict, got {op.env!r}", op.line)
    for name, value in op.env.items():
        if not isinstance(value, (str, int, float)):
            raise SpecError(
                f"task {op.task_id!r}: env[{name!r}] must be a text, got {value!r}", op.line
            )
    op.env = {str(name): str(value) for name, value in op.env.items()}
    return op.env


def _exit_codes(op) -> list[int]:
    codes = op.skip_on_exit_code
    if not all(isinstance(code, int) for code in codes):
        raise SpecError(
            f"task {op.task_id!r}: skip_on_exit_code must be whole numbers, got {codes!r}", op.line
        )
    return codes


def backoff(value) -> float | None:
    """Airflow 2's True doubles; a number is the factor itself."""
    if value is True:
        return 2.0
    return float(value) if value else None


def _u32(op, name: str) -> int | None:
    value = getattr(op, name)
    if value is not None and not 0 <= value <= U32_MAX:
        raise SpecError(f"task {op.task_id!r}: {name} is out of range: {value}", op.line)
    return value

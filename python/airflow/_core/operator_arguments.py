"""Arguments that every operator takes: defaults, checks, and those without an effect."""

from __future__ import annotations

import datetime as dt

from airflow._core.dag_arguments import count, delta
from airflow._core.params import ParamsDict
from airflow._core.registry import session
from airflow._core.rules import canonical_trigger_rule, canonical_weight_rule
from airflow.configuration import conf
from airflow.exceptions import InvalidArguments

# Name -> value when neither the call nor default_args gives one. None may mean "see apply()".
_PLAIN = {
    "owner": "airflow",
    "start_date": None,
    "end_date": None,
    "depends_on_past": False,
    "wait_for_downstream": False,
    "queue": None,
    "pool": None,
    "on_execute_callback": None,
    "on_failure_callback": None,
    "on_success_callback": None,
    "on_retry_callback": None,
    "on_skipped_callback": None,
    "do_xcom_push": True,
    "doc": None,
    "doc_md": None,
    "doc_json": None,
    "doc_yaml": None,
    "doc_rst": None,
    "task_display_name": None,
    "email": None,
    "email_on_retry": True,
    "email_on_failure": True,
}
_CHECKED = (
    "retries",
    "retry_delay",
    "max_retry_delay",
    "execution_timeout",
    "retry_exponential_backoff",
    "priority_weight",
    "weight_rule",
    "trigger_rule",
    "pool_slots",
    "params",
    "max_active_tis_per_dag",
    "task_concurrency",
    "max_active_tis_per_dagrun",
    "pre_execute",
    "post_execute",
    "multiple_outputs",
    "xcom_push",
)
_IGNORED = {
    "sla": "SLAs are not watched",
    "ignore_first_depends_on_past": "",
    "wait_for_past_depends_before_skipping": "",
    "resources": "tasks are not placed by resources",
    "run_as_user": "tasks run as the worker's user",
    "executor": "the deployment chooses the executor",
    "executor_config": "the deployment chooses the executor",
    "inlets": "lineage is not kept",
    "outlets": "assets are not updated",
    "map_index_template": "",
    "logger_name": "",
    "allow_nested_operators": "",
    "adhoc": "",
    "subdag": "",
    "retry_policy": "retries and retry_delay decide",
    "render_template_as_native_obj": "set it on the DAG",
}
NAMES = (*_PLAIN, *_CHECKED, *_IGNORED)
_CALLBACKS = tuple(name for name in _PLAIN if name.endswith("_callback"))
_INT32 = 2**31 - 1


def apply(op, task_id: str, kwargs: dict) -> None:
    """Sets the common attributes of an operator; what is left over is an error."""
    for name, default in _PLAIN.items():
        setattr(op, name, kwargs.pop(name, default))
    _retries(op, kwargs)
    _rules(op, kwargs)
    _limits(op, kwargs)
    params = kwargs.pop("params", None) or {}
    op.params = ParamsDict(dict.copy(params))
    op.pre_execute_hook = kwargs.pop("pre_execute", None)
    op.post_execute_hook = kwargs.pop("post_execute", None)
    if "multiple_outputs" in kwargs:
        op.multiple_outputs = bool(kwargs.pop("multiple_outputs"))
    old_push = kwargs.pop("xcom_push", None)
    if old_push is not None:
        op.do_xcom_push = bool(old_push)
    op.do_xcom_push = bool(op.do_xcom_push)
    op.owner = str(op.owner)
    for name in _CALLBACKS:
        setattr(op, name, _callbacks(getattr(op, name), name))
    _drop_ignored(op, task_id, kwargs)
    if kwargs:
        _unknown(op, task_id, kwargs)


def has_callbacks(op) -> bool:
    """Whether the task needs Python around it, whatever its operator does."""
    return any(getattr(op, name) for name in _CALLBACKS) or bool(
        op.pre_execute_hook or op.post_execute_hook
    )


def _retries(op, kwargs: dict) -> None:
    retries = kwargs.pop("retries", None)
    if retries is None:
        retries = conf.getint("core", "default_task_retries", 0)
    op.retries = count(retries, "retries")
    retry_delay = kwargs.pop("retry_delay", None)
    if retry_delay is None:
        retry_delay = conf.getfloat("core", "default_task_retry_delay", 300.0)
    op.retry_delay = delta(retry_delay, "retry_delay")
    op.max_retry_delay = delta(kwargs.pop("max_retry_delay", None), "max_retry_delay")
    op.execution_timeout = delta(kwargs.pop("execution_timeout", None), "execution_timeout")
    if op.execution_timeout is not None and op.execution_timeout <= dt.timedelta(0):
        raise ValueError(f"execution_timeout must be longer than 0, got {op.execution_timeout}")
    op.retry_exponential_backoff = kwargs.pop("retry_exponential_backoff", False)
    if not isinstance(op.retry_exponential_backoff, (bool, int, float)):
        raise TypeError(
            "retry_exponential_backoff must be a bool or a number, "
            f"got {op.retry_exponential_backoff!r}"
        )


def _rules(op, kwargs: dict) -> None:
    op.trigger_rule = canonical_trigger_rule(kwargs.pop("trigger_rule", "all_success"))
    op.weight_rule = canonical_weight_rule(kwargs.pop("weight_rule", "downstream"))
    weight = kwargs.pop("priority_weight", 1)
    op.priority_weight = max(-_INT32, min(_INT32, count(weight, "priority_weight", -(2**63))))
    if op.wait_for_downstream:
        op.depends_on_past = True


def _limits(op, kwargs: dict) -> None:
    op.pool_slots = count(kwargs.pop("pool_slots", 1), "pool_slots", 1)
    old_name = kwargs.pop("task_concurrency", None)
    per_dag = kwargs.pop("max_active_tis_per_dag", None)
    per_run = kwargs.pop("max_active_tis_per_dagrun", None)
    per_dag = old_name if per_dag is None else per_dag
    op.max_active_tis_per_dag = (
        None if per_dag is None else count(per_dag, "max_active_tis_per_dag")
    )
    op.max_active_tis_per_dagrun = (
        None if per_run is None else count(per_run, "max_active_tis_per_dagrun")
    )
    op.pool = op.pool or "default_pool"
    op.queue = op.queue or "default"


def _callbacks(value, name: str) -> list:
    callbacks = list(value) if isinstance(value, (list, tuple)) else [value]
    callbacks = [callback for callback in callbacks if callback is not None]
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"{name} must be callable, got {callback!r}")
    return callbacks


def _drop_ignored(op, task_id: str, kwargs: dict) -> None:
    for name, reason in _IGNORED.items():
        if kwargs.pop(name, None) and reason:
            session().warn(f"task {task_id!r}: argument {name} is ignored: {reason}")
    if op.email and (op.email_on_failure or op.email_on_retry):
        session().warn(f"task {task_id!r}: e-mail is not sent; set on_failure_callback instead")


def _unknown(op, task_id: str, kwargs: dict) -> None:
    names = ", ".join(sorted(kwargs))
    text = f"invalid arguments were passed to {type(op).__name__} (task_id: {task_id}): {names}"
    if session().generation == "1.10":
        # 1.10 only warned about these.
        session().warn(text)
        return
    raise InvalidArguments(text)

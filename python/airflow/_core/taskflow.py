"""`@task` and its relatives: functions that become tasks when they are called in a DAG."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping

from airflow._core import calls
from airflow._core.bash import BashOperator
from airflow._core.context_names import CONTEXT_NAMES
from airflow._core.group import TaskGroup
from airflow._core.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow._core.registry import open_dags, open_groups
from airflow._core.xcomarg import XComArg
from airflow.exceptions import AirflowException


class _DecoratedMixin:
    """What the operators behind decorated functions share."""

    template_fields = ("templates_dict", "op_args", "op_kwargs")

    @property
    def function(self) -> Callable:
        return self.python_callable


class _PythonDecoratedOperator(_DecoratedMixin, PythonOperator):
    pass


class _BranchPythonDecoratedOperator(_DecoratedMixin, BranchPythonOperator):
    pass


class _ShortCircuitDecoratedOperator(_DecoratedMixin, ShortCircuitOperator):
    pass


class _BashDecoratedOperator(BashOperator):
    """The function returns the command to run."""

    template_fields = ("op_args", "op_kwargs", "env", "cwd")
    template_ext = ()

    def __init__(self, *, python_callable, op_args=None, op_kwargs=None, **kwargs):
        super().__init__(bash_command="", **kwargs)
        self.python_callable = python_callable
        self.op_args = op_args or ()
        self.op_kwargs = op_kwargs or {}

    def execute(self, context):
        command = calls.call_with_context(
            self.python_callable, self.op_args, self.op_kwargs, context
        )
        if not isinstance(command, str) or not command.strip():
            raise TypeError("a @task.bash function must return a command that is not empty")
        self.bash_command = context["ti"].render_text(command)
        return super().execute(context)


class DecoratedTask:
    """A function that makes one task per call."""

    def __init__(self, function: Callable, operator_class: type, options: dict):
        if isinstance(function, (staticmethod, classmethod)):
            raise TypeError("a task function must be a plain function")
        functools.update_wrapper(self, function)
        self.function = function
        self.operator_class = operator_class
        self.options = options
        self.is_setup = False
        self.teardown_options: dict | None = None

    def __call__(self, *args, **kwargs) -> XComArg:
        self._check(args, kwargs)
        options = dict(self.options)
        options.setdefault("task_id", self.function.__name__)
        options["task_id"] = _free_name(options)
        if "multiple_outputs" not in options and _returns_mapping(self.function):
            options["multiple_outputs"] = True
        if self.function.__doc__ and not options.get("doc_md"):
            options["doc_md"] = inspect.cleandoc(self.function.__doc__)
        operator = self.operator_class(
            python_callable=self.function, op_args=args, op_kwargs=kwargs, **options
        )
        if self.is_setup:
            operator.as_setup()
        if self.teardown_options is not None:
            operator.as_teardown(**self.teardown_options)
        return XComArg(operator)

    def _check(self, args, kwargs) -> None:
        """Wrong arguments are an error of the DAG file, at the line of the call."""
        signature = calls.signature(self.function)
        parameters = [
            p.replace(default=None)
            if p.name in CONTEXT_NAMES and p.default is inspect.Parameter.empty
            else p
            for p in signature.parameters.values()
        ]
        # A context parameter may stand before ones without default: order is not checked then.
        relaxed = inspect.Signature(parameters, __validate_parameters__=False)
        try:
            relaxed.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.function.__name__}(): {error}") from None

    def override(self, **options) -> DecoratedTask:
        changed = DecoratedTask(self.function, self.operator_class, {**self.options, **options})
        changed.is_setup = self.is_setup
        changed.teardown_options = self.teardown_options
        return changed

    def partial(self, **_kwargs):
        raise AirflowException("dynamic task mapping (.partial/.expand) is not supported")

    expand = expand_kwargs = partial


def _free_name(options: dict) -> str:
    dag = options.get("dag") or open_dags.top()
    group = options.get("task_group") or open_groups.top() or getattr(dag, "task_group", None)
    name = options["task_id"]
    if group is None or group.dag is None or (dag is not None and group.dag is not dag):
        return name
    return group.free_name(name)


def _returns_mapping(function: Callable) -> bool:
    try:
        hint = typing.get_type_hints(function).get("return")
    except Exception:  # annotations are the author's code
        return False
    hint = typing.get_origin(hint) or hint
    return isinstance(hint, type) and issubclass(hint, Mapping)


class TaskDecorator:
    """`@task`, `@task(...)`, `@task.branch`, …"""

    _KINDS = {
        "python": _PythonDecoratedOperator,
        "branch": _BranchPythonDecoratedOperator,
        "short_circuit": _ShortCircuitDecoratedOperator,
        "bash": _BashDecoratedOperator,
    }

    def __init__(self, kind: str = "python"):
        self._kind = kind

    def __call__(self, python_callable: Callable | None = None, **options):
        cls = self._KINDS[self._kind]
        if python_callable is None:
            return lambda function: DecoratedTask(function, cls, options)
        if not callable(python_callable):
            raise TypeError("@task takes keyword arguments only")
        return DecoratedTask(python_callable, cls, options)

    def __getattr__(self, name: str):
        if name in self._KINDS:
            return TaskDecorator(name)
        if name.startswith("__"):
            raise AttributeError(name)
        known = ", ".join(f"@task.{kind}" for kind in self._KINDS)
        raise AttributeError(f"@task.{name} is not supported: there are {known}")


task = TaskDecorator()


def _as_task(function) -> DecoratedTask:
    return function if isinstance(function, DecoratedTask) else task(function)


def setup(function):
    """Marks a task function as a setup."""
    decorated = _as_task(function)
    decorated.is_setup = True
    return decorated


def teardown(function=None, *, setups=None, on_failure_fail_dagrun: bool = False):
    """Marks a task function as a teardown."""

    def decorate(inner):
        decorated = _as_task(inner)
        decorated.teardown_options = {
            "setups": setups,
            "on_failure_fail_dagrun": on_failure_fail_dagrun,
        }
        return decorated

    return decorate if function is None else decorate(function)


def task_group(function=None, **options):
    """Turns a function into a factory of a task group."""

    def decorate(inner):
        @functools.wraps(inner)
        def factory(*args, **kwargs):
            named = {"group_id": inner.__name__, "tooltip": inner.__doc__ or "", **options}
            with TaskGroup(add_suffix_on_collision=True, **named) as group:
                result = inner(*args, **kwargs)
            return group if result is None else result

        factory.override = lambda **more: task_group(inner, **{**options, **more})
        return factory

    return decorate if function is None else decorate(function)

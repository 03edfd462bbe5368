"""`BaseOperator`: common arguments, default arguments, and what subclasses override."""

from __future__ import annotations

import abc
import functools
import inspect
import logging

from airflow._core import operator_arguments
from airflow._core.calls import signature
from airflow._core.edges import DependencyMixin
from airflow._core.group import check_id
from airflow._core.registry import open_dags, open_groups, session
from airflow._core.relatives import RelativesMixin
from airflow._core.xcomarg import XComArg, find_resolvables
from airflow.exceptions import AirflowException, InvalidArguments

_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class OperatorMeta(abc.ABCMeta):
    """Lets every `__init__` of an operator class take its missing arguments from default_args."""

    def __new__(mcls, name, bases, namespace, **kwargs):
        cls = super().__new__(mcls, name, bases, namespace, **kwargs)
        if "__init__" in namespace:
            cls.__init__ = _with_defaults(namespace["__init__"])
        return cls

    def __call__(cls, *args, **kwargs):
        operator = super().__call__(*args, **kwargs)
        if "task_id" not in operator.__dict__:
            raise AirflowException(
                f"{cls.__name__}.__init__() must call super().__init__(**kwargs) first"
            )
        operator._finish_init()
        return operator


def _with_defaults(init):
    parameters = list(signature(init).parameters.values())[1:]
    named = [p for p in parameters if p.kind in _KINDS]
    names = getattr(init, "argument_names", None) or [p.name for p in named]
    required = [p.name for p in named if p.default is inspect.Parameter.empty]

    @functools.wraps(init)
    def wrapper(self, *args, **kwargs):
        if args:
            raise InvalidArguments("use keyword arguments when initializing operators")
        if "_defaults" not in self.__dict__:
            self.__dict__["_defaults"] = _collect_defaults(kwargs)
        for name in names:
            if name not in kwargs and name in self._defaults:
                kwargs[name] = self._defaults[name]
        missing = [name for name in required if name not in kwargs]
        if missing:
            raise InvalidArguments(
                f"{type(self).__name__} misses keyword arguments: {', '.join(missing)}"
            )
        init(self, **kwargs)

    return wrapper


def _collect_defaults(kwargs: dict) -> dict:
    """default_args of the DAG, of the open groups and of the call, the nearest winning."""
    dag = kwargs.get("dag") or getattr(kwargs.get("task_group"), "dag", None) or open_dags.top()
    group = kwargs.get("task_group") or open_groups.top()
    defaults = dict(dag.default_args) if dag is not None else {}
    if group is not None and group.dag is dag:
        defaults.update(group.inherited_default_args())
    defaults.update(kwargs.get("default_args") or {})
    for name in ("dag", "task_id", "task_group", "default_args"):
        defaults.pop(name, None)
    return defaults


class BaseOperator(DependencyMixin, RelativesMixin, metaclass=OperatorMeta):
    """A task. Subclasses override `execute(context)`.

    Strings in the attributes named by `template_fields` are rendered before it runs.
    """

    template_fields: tuple = ()
    template_ext: tuple = ()
    template_fields_renderers: dict = {}
    ui_color = "#fff"
    ui_fgcolor = "#000"
    shallow_copy_attrs: tuple = ()
    operator_extra_links: tuple = ()
    multiple_outputs = False
    is_setup = False
    is_teardown = False
    on_failure_fail_dagrun = False

    def __init__(self, task_id, dag=None, task_group=None, default_args=None, **kwargs):
        self.line = session().line()
        self.upstream_task_ids: set[str] = set()
        self.downstream_task_ids: set[str] = set()
        self.task_group = None
        self._dag = None
        operator_arguments.apply(self, task_id, kwargs)
        dag = dag or getattr(task_group, "dag", None) or open_dags.top()
        group = task_group or open_groups.top()
        if group is not None and group.dag is not dag:
            group = None
        group = group or getattr(dag, "task_group", None)
        full_id = group.child_id(task_id) if group is not None else task_id
        self.task_id = check_id(full_id, "task_id")
        if dag is None:
            return
        # The group first: a task that comes into a DAG without one is put into the root group.
        self.task_group = group
        dag.add_task(self)
        group.add(self)

    __init__.argument_names = operator_arguments.NAMES

    def _finish_init(self) -> None:
        self.__dict__["_initialized"] = True
        for name in self.template_fields:
            self._depend_on(getattr(self, name, None))

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if self.__dict__.get("_initialized") and name in self.template_fields:
            self._depend_on(value)

    def _depend_on(self, value) -> None:
        for found in find_resolvables(value):
            for producer in found.producers():
                if producer is not self:
                    self.set_upstream(producer)

    @property
    def dag(self):
        return self._dag

    @dag.setter
    def dag(self, dag) -> None:
        if dag is None or self._dag is dag:
            return
        if self._dag is not None:
            raise AirflowException(f"the task {self.task_id!r} belongs to {self._dag} already")
        self._dag = dag
        dag.add_task(self)
        if self.task_group is None:
            dag.task_group.add(self)

    def has_dag(self) -> bool:
        return self._dag is not None

    @property
    def dag_id(self) -> str:
        return self._dag.dag_id if self._dag is not None else f"adhoc_{self.owner}"

    @property
    def task_type(self) -> str:
        return type(self).__name__

    operator_name = task_type

    @property
    def label(self) -> str:
        return self.task_id.rpartition(".")[2]

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"airflow.task.operators.{type(self).__module__}.{self.task_type}")

    @property
    def output(self) -> XComArg:
        return XComArg(self)

    @property
    def roots(self) -> list:
        return [self]

    @property
    def leaves(self) -> list:
        return [self]

    def as_setup(self):
        self.is_setup = True
        return self

    def as_teardown(self, *, setups=None, on_failure_fail_dagrun: bool = False):
        """Marks the task as a teardown, downstream of its setups."""
        self.is_teardown = True
        self.on_failure_fail_dagrun = on_failure_fail_dagrun
        self.trigger_rule = "all_done_setup_success"
        for setup in [setups] if isinstance(setups, DependencyMixin) else setups or []:
            for operator in setup.leaves:
                operator.is_setup = True
            self.set_upstream(setup)
        return self

    def execute(self, context):
        """The task's work; what it returns is pushed as `return_value`."""
        raise NotImplementedError(f"{type(self).__name__} has no execute()")

    def pre_execute(self, context):
        """Called right before `execute`."""
        if self.pre_execute_hook is not None:
            self.pre_execute_hook(context)

    def post_execute(self, context, result=None):
        """Called right after a successful `execute`."""
        if self.post_execute_hook is not None:
            self.post_execute_hook(context, result)

    def on_kill(self) -> None:
        """Called when the task is told to end: stop what it has started."""

    def prepare_template(self) -> None:
        """Called after template files were read."""

    @staticmethod
    def xcom_push(context, key, value, execution_date=None) -> None:
        context["ti"].xcom_push(key=key, value=value, execution_date=execution_date)

    @staticmethod
    def xcom_pull(context, task_ids=None, dag_id=None, key="return_value", **options):
        return context["ti"].xcom_pull(task_ids=task_ids, dag_id=dag_id, key=key, **options)

    @classmethod
    def partial(cls, **_kwargs):
        raise AirflowException("dynamic task mapping (.partial/.expand) is not supported")

    def __repr__(self) -> str:
        return f"<Task({self.task_type}): {self.task_id}>"

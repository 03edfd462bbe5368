"""Values that are known only when a task runs: outputs of other tasks and DAG params.

At parse time they make edges; in templates they turn into Jinja text; in a running task
`resolve()` fetches the value.
"""

from __future__ import annotations

from airflow._core.edges import DependencyMixin
from airflow.exceptions import AirflowException, XComNotFound

XCOM_RETURN_KEY = "return_value"
MISSING = object()


class Resolvable:
    """A value that a running task asks for."""

    def resolve(self, context):
        raise NotImplementedError

    def producers(self) -> list:
        """Operators that have to run before."""
        return []


class XComArg(Resolvable, DependencyMixin):
    """The output of a task under a key; `x["name"]` names another key."""

    def __init__(self, operator, key: str = XCOM_RETURN_KEY):
        self.operator = operator
        self.key = key

    @property
    def roots(self) -> list:
        return [self.operator]

    @property
    def leaves(self) -> list:
        return [self.operator]

    @property
    def dag(self):
        return self.operator.dag

    def producers(self) -> list:
        return [self.operator]

    def as_setup(self):
        self.operator.is_setup = True
        return self

    def as_teardown(self, **options):
        self.operator.as_teardown(**options)
        return self

    def __getitem__(self, key: str) -> XComArg:
        if not isinstance(key, str):
            raise ValueError(f"a task output is indexed by a str key, got {key!r}")
        return XComArg(self.operator, key)

    def __iter__(self):
        raise TypeError("a task output is known only at run time and cannot be iterated here")

    def map(self, *_args, **_kwargs):
        raise AirflowException("dynamic task mapping (.map) is not supported")

    zip = concat = map

    def __eq__(self, other):
        if not isinstance(other, XComArg):
            return NotImplemented
        return self.operator is other.operator and self.key == other.key

    def __hash__(self):
        return hash((id(self.operator), self.key))

    def __repr__(self) -> str:
        return f"XComArg({self.operator!r}, key={self.key!r})"

    def __str__(self) -> str:
        """Jinja text with the same meaning, so that outputs can stand in any template."""
        task, dag = self.operator.task_id, self.operator.dag_id
        pull = f"task_ids={task!r}, dag_id={dag!r}, key={self.key!r}"
        return "{{ task_instance.xcom_pull(" + pull + ") }}"

    def resolve(self, context):
        value = context["ti"].xcom_pull(
            task_ids=self.operator.task_id,
            dag_id=self.operator.dag_id,
            key=self.key,
            default=MISSING,
        )
        if value is not MISSING:
            return value
        if self.key == XCOM_RETURN_KEY or getattr(self.operator, "multiple_outputs", False):
            return None
        raise XComNotFound(self.operator.dag_id, self.operator.task_id, self.key)


class DagParam(Resolvable):
    """A param of the DAG, read when the task runs."""

    def __init__(self, name: str):
        self.name = name

    def resolve(self, context):
        return context["params"][self.name]

    def __str__(self) -> str:
        return "{{ params[" + repr(self.name) + "] }}"

    def __repr__(self) -> str:
        return f"DagParam({self.name!r})"


def find_resolvables(value) -> list[Resolvable]:
    """Every run-time value inside nested lists, tuples, sets and dicts."""
    if isinstance(value, Resolvable):
        return [value]
    if isinstance(value, dict):
        return [found for item in value.values() for found in find_resolvables(item)]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [found for item in value for found in find_resolvables(item)]
    return []


def replace_resolvables(value, replace):
    """A copy of a nested value in which every run-time value went through `replace`."""
    if isinstance(value, Resolvable):
        return replace(value)
    if not find_resolvables(value):
        return value
    if isinstance(value, dict):
        return {key: replace_resolvables(item, replace) for key, item in value.items()}
    items = [replace_resolvables(item, replace) for item in value]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)
    return type(value)(items)

"""Dependencies between tasks: `>>`, `<<`, lists, groups, labels and the chain helpers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from airflow.exceptions import AirflowException


class DependencyMixin:
    """Anything that can stand on a side of `>>`: task, group, task output, label."""

    @property
    def roots(self) -> list:
        """Operators that an upstream is linked to."""
        raise NotImplementedError

    @property
    def leaves(self) -> list:
        """Operators that a downstream is linked to."""
        raise NotImplementedError

    def set_upstream(self, other, edge_modifier=None) -> None:
        for item in as_nodes(other):
            link(item.leaves, self.roots)

    def set_downstream(self, other, edge_modifier=None) -> None:
        for item in as_nodes(other):
            link(self.leaves, item.roots)

    def __rshift__(self, other):
        if isinstance(other, EdgeModifier):
            other.take_upstream(self)
        else:
            self.set_downstream(other)
        return other

    def __lshift__(self, other):
        if isinstance(other, EdgeModifier):
            other.take_downstream(self)
        else:
            self.set_upstream(other)
        return other

    def __rrshift__(self, other):
        self.__lshift__(other)
        return self

    def __rlshift__(self, other):
        self.__rshift__(other)
        return self


class EdgeModifier(DependencyMixin):
    """A label between two sides; the text is for people and has no effect."""

    def __init__(self, label: str | None = None):
        self.label = label
        self._upstream: list = []
        self._downstream: list = []

    @property
    def roots(self) -> list:
        return [op for node in self._downstream for op in node.roots]

    @property
    def leaves(self) -> list:
        return [op for node in self._upstream for op in node.leaves]

    def take_upstream(self, node) -> None:
        nodes = as_nodes(node)
        self._upstream.extend(nodes)
        self._connect(nodes, self._downstream)

    def take_downstream(self, node) -> None:
        nodes = as_nodes(node)
        self._downstream.extend(nodes)
        self._connect(self._upstream, nodes)

    def set_upstream(self, other, edge_modifier=None) -> None:
        self.take_upstream(other)

    def set_downstream(self, other, edge_modifier=None) -> None:
        self.take_downstream(other)

    @staticmethod
    def _connect(upstream, downstream) -> None:
        for node in downstream:
            for other in upstream:
                link(other.leaves, node.roots)


def Label(label: str) -> EdgeModifier:
    """A label to be put between two sides of `>>`."""
    return EdgeModifier(label)


def as_nodes(other) -> list:
    """One side of an edge as a flat list of nodes."""
    if isinstance(other, (list, tuple, set, frozenset)):
        return [node for item in other for node in as_nodes(item)]
    if not isinstance(other, DependencyMixin):
        raise AirflowException(
            f"relationships can only be set between operators; received {type(other).__name__}"
        )
    return [other]


def link(upstream: Sequence, downstream: Sequence) -> None:
    """Makes every operator of `downstream` depend on every one of `upstream`."""
    dag = _common_dag([*upstream, *downstream])
    for op in (*upstream, *downstream):
        if op.dag is None:
            op.dag = dag
    for up in upstream:
        for down in downstream:
            up.downstream_task_ids.add(down.task_id)
            down.upstream_task_ids.add(up.task_id)
            dag.note_edge(up.task_id, down.task_id)


def _common_dag(operators: list):
    dags = {id(op.dag): op.dag for op in operators if op.dag is not None}
    if len(dags) > 1:
        names = ", ".join(sorted(dag.dag_id for dag in dags.values()))
        raise AirflowException(f"cannot set relationships between tasks of several DAGs: {names}")
    if not dags:
        names = ", ".join(op.task_id for op in operators)
        raise AirflowException(
            f"cannot set relationships between tasks that have no DAG yet: {names}"
        )
    return next(iter(dags.values()))


def chain(*tasks) -> None:
    """`a >> b >> c`; two lists side by side must have one length and are linked in pairs."""
    for up, down in pairwise(tasks):
        if not (_is_list(up) and _is_list(down)):
            for node in as_nodes(up):
                node.set_downstream(down)
            continue
        if len(up) != len(down):
            raise AirflowException(
                f"chain() needs lists of one length side by side, got {len(up)} and {len(down)}"
            )
        for one, other in zip(up, down, strict=True):
            for node in as_nodes(one):
                node.set_downstream(other)


def chain_linear(*elements) -> None:
    """Links every member of a list with every member of the next one."""
    levels = [as_nodes(element) for element in elements]
    if len([level for level in levels if level]) < 2:
        raise ValueError("chain_linear() needs at least two elements that hold tasks")
    levels = [level for level in levels if level]
    for up, down in pairwise(levels):
        cross_downstream(up, down)


def cross_downstream(from_tasks, to_tasks) -> None:
    """Links every one of `from_tasks` with every one of `to_tasks`."""
    for node in as_nodes(from_tasks):
        node.set_downstream(to_tasks)


def _is_list(value) -> bool:
    return isinstance(value, (list, tuple, set, frozenset))

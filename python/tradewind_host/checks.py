"""Checks of whole DAGs: no circles, no id twice."""

from __future__ import annotations

import itertools

from tradewind_host.errors import SpecError


def check_acyclic(dag) -> None:
    """Raises a `SpecError` that names the tasks of a circle and the line that closed it."""
    cycle = find_cycle({task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks})
    if not cycle:
        return
    edges = list(itertools.pairwise(cycle))
    order = list(dag.edge_lines)
    last = max(edges, key=order.index)
    path = " >> ".join(cycle)
    raise SpecError(
        f"cycle detected in DAG {dag.dag_id!r}: {path}",
        dag.edge_lines[last],
        "AirflowDagCycleException",
    )


def find_cycle(downstream: dict[str, list[str]]) -> list[str] | None:
    """One circle as a list of ids whose first and last are the same. Never recurses."""
    done: set[str] = set()
    for start in downstream:
        path: list[str] = []
        on_path: set[str] = set()
        stack = [(start, iter(downstream[start]))] if start not in done else []
        if stack:
            path.append(start)
            on_path.add(start)
        while stack:
            node, children = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
                done.add(node)
                on_path.discard(path.pop())
            elif child in on_path:
                return [*path[path.index(child) :], child]
            elif child not in done:
                stack.append((child, iter(downstream[child])))
                path.append(child)
                on_path.add(child)
    return None


def duplicates(dags: list) -> dict[str, SpecError]:
    """DAG ids that a file uses more than once, with the error to show."""
    first: dict[str, object] = {}
    found: dict[str, SpecError] = {}
    for dag in dags:
        other = first.setdefault(dag.dag_id, dag)
        if other is not dag:
            where = f" (first at line {other.line})" if other.line else ""
            found[dag.dag_id] = SpecError(
                f"the DAG id {dag.dag_id!r} is used twice{where}",
                dag.line,
                "AirflowDagDuplicatedIdException",
            )
    return found

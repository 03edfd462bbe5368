"""Task groups: a prefix for ids and a common side for edges."""

from __future__ import annotations

import re

from airflow._core.edges import DependencyMixin
from airflow._core.registry import open_dags, open_groups
from airflow.exceptions import AirflowException, DuplicateTaskIdFound, TaskAlreadyInTaskGroup

ID_CHARS_MAX = 250
_ID = re.compile(r"^[\w.-]+$")


def check_id(name, what: str) -> str:
    """A valid dag, task or group id, or an error that says what is wrong with it."""
    if not isinstance(name, str):
        raise TypeError(f"the {what} must be a str, not {type(name).__name__}: {name!r}")
    if len(name) > ID_CHARS_MAX:
        raise AirflowException(
            f"the {what} {name[:40]!r}… is longer than {ID_CHARS_MAX} characters"
        )
    if not _ID.match(name):
        raise AirflowException(
            f"the {what} {name!r} may hold only letters, digits, dashes, dots and underscores"
        )
    return name


class TaskGroup(DependencyMixin):
    """A named set of tasks and groups."""

    def __init__(
        self,
        group_id: str | None,
        prefix_group_id: bool = True,
        parent_group: TaskGroup | None = None,
        dag=None,
        default_args: dict | None = None,
        tooltip: str = "",
        ui_color: str = "",
        ui_fgcolor: str = "",
        add_suffix_on_collision: bool = False,
        group_display_name: str = "",
    ):
        self.prefix_group_id = prefix_group_id
        self.default_args = dict(default_args or {})
        self.tooltip = tooltip
        self.children: dict = {}
        self._group_id = group_id
        self.dag = dag
        self.parent_group = None
        if group_id is None:
            return
        parent = parent_group or open_groups.top() or getattr(dag, "task_group", None)
        self.dag = dag or getattr(parent, "dag", None) or open_dags.top()
        if self.dag is None:
            raise AirflowException(f"the task group {group_id!r} is outside of any DAG")
        parent = parent or self.dag.task_group
        check_id(group_id, "group_id")
        if "." in group_id:
            raise AirflowException(f"the group_id {group_id!r} must not hold dots")
        if add_suffix_on_collision:
            self._group_id = parent.free_name(group_id)
        self.parent_group = parent
        parent.add(self)

    @property
    def is_root(self) -> bool:
        return self._group_id is None

    @property
    def group_id(self) -> str | None:
        if self.is_root:
            return None
        return self.parent_group.child_id(self._group_id)

    node_id = group_id
    label = group_id

    def child_id(self, name: str) -> str:
        """The full id of a child: prefixed unless the author said otherwise."""
        if self.is_root or not self.prefix_group_id:
            return name
        return f"{self.group_id}.{name}"

    def free_name(self, name: str) -> str:
        """`name`, or `name__1`, `name__2`, … when a task or group has it already."""
        taken = set(self.dag.task_dict) | set(self.dag.group_ids)
        candidate, number = name, 0
        while self.child_id(candidate) in taken:
            number += 1
            candidate = f"{name}__{number}"
        return candidate

    def add(self, node) -> None:
        """Takes a task or a group as a child."""
        if isinstance(node, TaskGroup):
            group_id = node.group_id
            if group_id in self.dag.group_ids or group_id in self.dag.task_dict:
                raise DuplicateTaskIdFound(f"the id {group_id!r} is already used in this DAG")
            self.dag.group_ids[group_id] = node
            self.children[group_id] = node
            return
        if node.task_group is not None and node.task_group is not self:
            raise TaskAlreadyInTaskGroup(f"the task {node.task_id!r} is in another group already")
        node.task_group = self
        self.children[node.task_id] = node

    def iter_tasks(self):
        for child in self.children.values():
            if isinstance(child, TaskGroup):
                yield from child.iter_tasks()
            else:
                yield child

    def inherited_default_args(self) -> dict:
        outer = self.parent_group.inherited_default_args() if self.parent_group else {}
        return {**outer, **self.default_args}

    @property
    def roots(self) -> list:
        """Tasks without an upstream inside the group."""
        tasks = list(self.iter_tasks())
        inside = {task.task_id for task in tasks}
        return [task for task in tasks if not task.upstream_task_ids & inside]

    @property
    def leaves(self) -> list:
        """Tasks without a downstream inside the group."""
        tasks = [task for task in self.iter_tasks() if not task.is_teardown]
        inside = {task.task_id for task in tasks}
        return [task for task in tasks if not task.downstream_task_ids & inside]

    def get_roots(self) -> list:
        return self.roots

    def get_leaves(self) -> list:
        return self.leaves

    def __getitem__(self, name: str):
        return self.children[name]

    def __enter__(self) -> TaskGroup:
        open_groups.push(self)
        return self

    def __exit__(self, *_exc) -> None:
        open_groups.pop()

    def __repr__(self) -> str:
        return f"<TaskGroup: {self.group_id}>"

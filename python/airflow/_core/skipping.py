"""Which tasks a branch or a short circuit skips. The worker applies the list."""

from __future__ import annotations

from airflow.exceptions import AirflowException


class SkipMixin:
    """For operators that decide what runs after them."""

    def skip(self, dag_run, tasks, *_args, **_kwargs) -> None:
        """Skips the given operators in this run."""
        from airflow._core.runtime import get_current_context

        get_current_context()["ti"].skip_tasks(tasks)

    def skip_downstream(self, ti, everything: bool) -> None:
        """All transitive downstreams, or only the direct ones; never teardowns."""
        tasks = self.get_flat_relatives() if everything else self.downstream_list
        ti.skip_tasks([task for task in tasks if not task.is_teardown])

    def skip_all_except(self, ti, branch) -> None:
        """Direct downstreams that are neither chosen nor reachable from what was chosen."""
        keep: set[str] = set()
        for task_id in self._chosen_ids(branch):
            keep.add(task_id)
            keep |= self.dag.get_task(task_id).get_flat_relative_ids()
        ti.skip_tasks([task for task in self.downstream_list if task.task_id not in keep])

    def _chosen_ids(self, branch) -> list[str]:
        if branch is None:
            return []
        names = [branch] if isinstance(branch, str) else branch
        if not isinstance(names, (list, tuple, set, frozenset)) or not all(
            isinstance(name, str) for name in names
        ):
            raise AirflowException(
                "a branch callable must return None, a task id, or a list of task ids; "
                f"it returned {branch!r}"
            )
        chosen: list[str] = []
        unknown = []
        for name in names:
            found = self._expand(name)
            if found is None:
                unknown.append(name)
            else:
                chosen.extend(found)
        if unknown:
            raise AirflowException(
                f"a branch callable must return valid task ids; unknown: {sorted(unknown)}"
            )
        return chosen

    def _expand(self, name: str) -> list[str] | None:
        """A task's id, or the roots of a group, also by its name inside the branch's own group."""
        candidates = [name]
        if self.task_group is not None and not self.task_group.is_root:
            candidates.append(self.task_group.child_id(name))
        for candidate in candidates:
            if candidate in self.dag.task_dict:
                return [candidate]
            if candidate in self.dag.group_ids:
                return [task.task_id for task in self.dag.group_ids[candidate].roots]
        return None

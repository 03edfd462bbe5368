"""Finds the template strings of an operator, and puts rendered values back by their paths."""

from __future__ import annotations

import os

from airflow._core.xcomarg import Resolvable
from tradewind_host import paths
from tradewind_host.errors import SpecError

_MARKS = ("{{", "{%", "{#")
DEPTH_MAX = 60


def collect(op, folders: list[str], fields=None) -> list[dict]:
    """Every string in a template field that holds a template or names a template file."""
    found: list[dict] = []
    for name in fields or op.template_fields:
        if not hasattr(op, name):
            raise SpecError(
                f"task {op.task_id!r}: {type(op).__name__}.template_fields names {name!r}, "
                "which the operator does not have",
                op.line,
            )
        _walk(op, [name], getattr(op, name), folders, found)
    return found


def _walk(op, path: list, value, folders: list[str], found: list[dict]) -> None:
    if len(path) > DEPTH_MAX:
        raise SpecError(f"task {op.task_id!r}: {path[0]} is nested too deeply", op.line)
    if isinstance(value, Resolvable):
        return
    if isinstance(value, str):
        source = _source(op, value, folders)
        if source is not None:
            found.append({"path": path, "source": source})
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, (str, int)):
                _walk(op, [*path, key], item, folders, found)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _walk(op, [*path, index], item, folders, found)


def _source(op, value: str, folders: list[str]) -> str | None:
    extensions = tuple(op.template_ext or ())
    if extensions and value.endswith(extensions):
        return _read(op, value, folders)
    return value if any(mark in value for mark in _MARKS) else None


def _read(op, name: str, folders: list[str]) -> str:
    for folder in folders:
        text = paths.read_text(os.path.join(folder, name))
        if text is not None:
            return text
    raise SpecError(
        f"task {op.task_id!r}: the template file {name!r} was not found in {', '.join(folders)} "
        "(to run a command whose name ends like that, write a space behind it)",
        op.line,
        "TemplateNotFound",
    )


def put(op, path: list, value) -> None:
    """Sets what is at `path` in the operator; containers on the way are copied."""
    name, rest = path[0], path[1:]
    current = getattr(op, name)
    op.__dict__[name] = _replaced(current, rest, value)


def _replaced(current, path: list, value):
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(current, dict):
        return {**current, key: _replaced(current[key], rest, value)}
    items = list(current)
    items[key] = _replaced(items[key], rest, value)
    if isinstance(current, tuple) and hasattr(current, "_fields"):
        return type(current)(*items)
    return tuple(items) if isinstance(current, tuple) else items

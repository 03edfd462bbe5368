"""What is being built right now: the file under load, open DAGs and groups, what was found.

Never reads files and never decides what a DAG means; the loader and the serializer do that.
"""

from __future__ import annotations

import sys

# A file that warns more often than this repeats itself; the rest is dropped.
WARNINGS_MAX = 100
# Frames looked at to find the author's line.
FRAMES_MAX = 200


class LoadSession:
    """Everything that one DAG file does to the authoring module while it is imported."""

    def __init__(self, file: str = "", generation: str = "2"):
        self.file = file
        self.generation = generation
        self.created: list = []
        self.registered: set[int] = set()
        self.marks: set[str] = set()
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keeps one line for the author, once, with the line in the DAG file."""
        line = caller_line(self.file)
        text = f"line {line}: {text}" if line else text
        if text not in self.warnings and len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(text)

    def line(self) -> int | None:
        """The line of the DAG file that is running now."""
        return caller_line(self.file)


class Stack:
    """Open `with` blocks, innermost last."""

    def __init__(self):
        self._items: list = []

    def push(self, item) -> None:
        self._items.append(item)

    def pop(self) -> None:
        self._items.pop()

    def top(self):
        return self._items[-1] if self._items else None

    def clear(self) -> None:
        self._items.clear()


_session = LoadSession()
open_dags = Stack()
open_groups = Stack()


def session() -> LoadSession:
    """The current session; a default one when nobody started any (interactive use)."""
    return _session


def start_session(file: str, generation: str) -> LoadSession:
    """Begins the load of one file; what an earlier broken file left open is forgotten."""
    global _session
    _session = LoadSession(file, generation)
    open_dags.clear()
    open_groups.clear()
    return _session


def caller_line(file: str) -> int | None:
    """Line of the innermost running frame that belongs to `file`."""
    if not file:
        return None
    frame = sys._getframe(1)
    for _ in range(FRAMES_MAX):
        if frame is None:
            return None
        if frame.f_code.co_filename == file:
            return frame.f_lineno
        frame = frame.f_back
    return None

"""Import errors as people see them: one line, the line in the DAG file, the traceback."""

from __future__ import annotations

import os
import traceback

MESSAGE_CHARS_MAX = 2000
DETAIL_CHARS_MAX = 16 * 1024


class SpecError(Exception):
    """A DAG that was built but cannot be used."""

    def __init__(self, message: str, line: int | None = None, kind: str = "AirflowException"):
        super().__init__(message)
        self.line = line
        self.kind = kind


def describe(error: BaseException, file: str) -> dict:
    """An error as `proto::dag::ImportError`."""
    if isinstance(error, SpecError):
        return _shape(f"{error.kind}: {error}", error.line, "")
    line = line_in(error, file)
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        message = f"{type(error).__name__}: {error.msg}"
        if error.filename == file:
            line = error.lineno
        elif error.filename:
            message += f" ({os.path.basename(error.filename)}, line {error.lineno})"
    elif isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("airflow."):
        message += " (it is not part of Tradewind's airflow module)"
    elif isinstance(error, SystemExit):
        message = f"SystemExit: the file ended the interpreter with code {error.code}"
    return _shape(message, line, trace(error, file))


def line_in(error: BaseException, file: str) -> int | None:
    """Line of the deepest frame inside `file`."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == file:
            found = line
    return found


def trace(error: BaseException, file: str = "") -> str:
    """The traceback without our own frames above the author's."""
    tb = error.__traceback__
    first = tb
    while first is not None and not _is_author(first.tb_frame.f_code.co_filename, file):
        first = first.tb_next
    lines = traceback.format_exception(type(error), error, first or tb)
    text = "".join(lines)
    return text if len(text) <= DETAIL_CHARS_MAX else "…" + text[-DETAIL_CHARS_MAX:]


def merge(errors: list[dict]) -> dict | None:
    """Several errors of one file as one: the first one, the others in the detail."""
    if not errors:
        return None
    first = dict(errors[0])
    more = [f"line {e['line']}: {e['message']}" if e["line"] else e["message"] for e in errors[1:]]
    if more:
        first["detail"] = "\n".join(part for part in (first["detail"], "Also:", *more) if part)
        first["detail"] = first["detail"][:DETAIL_CHARS_MAX]
    return first


def _is_author(filename: str, file: str) -> bool:
    ours = os.path.dirname(os.path.abspath(__file__)) + os.sep
    if file and filename == file:
        return True
    inside = filename.startswith(ours) and "example_dags" not in filename
    return not inside and not filename.startswith("<frozen")


def _shape(message: str, line: int | None, detail: str) -> dict:
    one_line = " ".join(message.split()) or "error"
    return {"message": one_line[:MESSAGE_CHARS_MAX], "line": line, "detail": detail}

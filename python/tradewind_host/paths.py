"""Where Python code is found: the DAGs folder, archives, and our fallback modules."""

from __future__ import annotations

import hashlib
import os
import sys
import zipfile

FALLBACK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fallback")


def set_up(dags_folder: str) -> None:
    """Puts the DAGs folder on `sys.path`, then our stand-ins, both after everything else.

    `python -m` puts the current folder first, where a stray file could hide a real module.
    """
    if sys.path and os.path.abspath(sys.path[0] or ".") == os.getcwd():
        named = [
            os.path.abspath(p) for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p
        ]
        if os.getcwd() not in named:
            del sys.path[0]
    append(dags_folder)
    append(FALLBACK)


def append(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)


def add_archive(dags_folder: str, archive: str) -> None:
    """Puts an archive right before the DAGs folder."""
    if archive not in sys.path:
        at = sys.path.index(dags_folder) if dags_folder in sys.path else len(sys.path)
        sys.path.insert(at, archive)


def split_archive(fileloc: str) -> tuple[str, str | None]:
    """`bundle.zip/etl.py` as (`bundle.zip`, `etl.py`); a plain file has None as second part."""
    parts = fileloc.split("/")
    for index, part in enumerate(parts):
        if part.lower().endswith(".zip"):
            inner = "/".join(parts[index + 1 :])
            return "/".join(parts[: index + 1]), inner or None
    return fileloc, None


def source_hash(path: str) -> str:
    """Lower-case SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def read_text(path: str) -> str | None:
    """The text of a file on disk or inside an archive; None when there is none."""
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            return file.read()
    archive, inner = split_archive(path)
    if inner is None or not os.path.isfile(archive):
        return None
    with zipfile.ZipFile(archive) as bundle:
        try:
            return bundle.read(inner).decode("utf-8")
        except KeyError:
            return None

"""Imports DAG files and collects their DAGs. The same for the parser and for the task host."""

from __future__ import annotations

import hashlib
import linecache
import os
import sys
import types
import zipfile

from airflow._core import registry
from airflow._core.dag import DAG
from tradewind_host import errors, generation, paths

ARCHIVE_MEMBERS_MAX = 1000


class LoadedModule:
    """One DAG file after its import, whether that worked or not."""

    def __init__(self, fileloc: str, file: str):
        self.fileloc = fileloc
        self.file = file
        self.generation = generation.V2
        self.dags: list[DAG] = []
        self.warnings: list[str] = []
        self.error: dict | None = None
        self.session = registry.session()


def load(dags_folder: str, fileloc: str) -> list[LoadedModule]:
    """Loads a file, one module of an archive, or all DAG modules of an archive."""
    outer, inner = paths.split_archive(fileloc)
    path = os.path.join(dags_folder, *outer.split("/"))
    if not outer.lower().endswith(".zip"):
        with open(path, "rb") as file:
            return [_load_source(fileloc, path, file.read())]
    paths.add_archive(dags_folder, path)
    with zipfile.ZipFile(path) as bundle:
        names = [inner] if inner else _dag_members(bundle)
        sources = [(name, bundle.read(name)) for name in names]
    return [
        _load_source(f"{outer}/{name}", os.path.join(path, name), source)
        for name, source in sources
    ]


def _dag_members(bundle: zipfile.ZipFile) -> list[str]:
    """Top-level `.py` files that mention both `dag` and `airflow`."""
    names = [n for n in bundle.namelist() if n.endswith(".py") and "/" not in n]
    found = []
    for name in names[:ARCHIVE_MEMBERS_MAX]:
        text = bundle.read(name).lower()
        if b"dag" in text and b"airflow" in text:
            found.append(name)
    return found


def _load_source(fileloc: str, file: str, source: bytes) -> LoadedModule:
    loaded = LoadedModule(fileloc, file)
    loaded.generation = generation.detect(source)
    session = loaded.session = registry.start_session(file, loaded.generation)
    module = _module(file)
    try:
        code = compile(source, file, "exec", dont_inherit=True)
        text = source.decode("utf-8", errors="replace")
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        exec(code, module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a DAG file may raise anything, SystemExit too
        loaded.error = errors.describe(error, file)
        loaded.warnings = session.warnings
        return loaded
    loaded.generation = generation.refine(loaded.generation, source, session.marks)
    session.generation = loaded.generation
    seen = {id(value) for value in list(module.__dict__.values()) if isinstance(value, DAG)}
    loaded.dags = [d for d in session.created if id(d) in session.registered or id(d) in seen]
    loaded.warnings = session.warnings
    return loaded


def _module(file: str) -> types.ModuleType:
    """A module under a name that no import statement reaches, so that two files never clash."""
    stem = os.path.splitext(os.path.basename(file))[0]
    digest = hashlib.sha1(file.encode(), usedforsecurity=False).hexdigest()[:12]
    module = types.ModuleType(f"tradewind_dag_{digest}_{stem}")
    module.__file__ = file
    sys.modules[module.__name__] = module
    return module

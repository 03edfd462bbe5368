"""Submodules reached as attributes, like `airflow.utils.dates` after a mere `import airflow`."""

from __future__ import annotations

import importlib


def submodules(package: str):
    """A module `__getattr__` that imports the submodule of that name."""

    def load(name: str):
        full = f"{package}.{name}"
        try:
            return importlib.import_module(full)
        except ModuleNotFoundError as error:
            if error.name != full:
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None

    return load

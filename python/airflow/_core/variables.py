"""`Variable`: read from the environment, in a running task also from the worker."""

from __future__ import annotations

import json
import os

from airflow._core import runtime
from airflow._core.params import NOTSET

ENV_PREFIX = "AIRFLOW_VAR_"


class Variable:
    """Deployment-wide text values by name."""

    @classmethod
    def get(cls, key: str, default_var=NOTSET, deserialize_json: bool = False, *, default=NOTSET):
        """The value; the default when there is none; KeyError when there is no default either."""
        text = os.environ.get(ENV_PREFIX + key.upper())
        if text is None and runtime.link() is not None:
            text = runtime.link().variable(key)
        if text is not None:
            return json.loads(text) if deserialize_json else text
        fallback = default_var if default_var is not NOTSET else default
        if fallback is NOTSET:
            raise KeyError(cls._missing(key))
        return fallback

    @staticmethod
    def _missing(key: str) -> str:
        text = f"Variable {key} does not exist"
        if runtime.link() is None:
            text += (
                f" (while a DAG file is read, only the environment variable {ENV_PREFIX}"
                f"{key.upper()} counts: set it, give a default, or read the variable in a task)"
            )
        return text

    @staticmethod
    def set(*_args, **_kwargs):
        raise NotImplementedError(
            "Variable.set() is not supported in DAG files and tasks: use `tradewind variables set`"
        )

    @staticmethod
    def delete(*_args, **_kwargs):
        raise NotImplementedError(
            "Variable.delete() is not supported in DAG files and tasks: "
            "use `tradewind variables delete`"
        )

    setdefault = update = set

"""Configuration as DAG files may read it: environment variables `AIRFLOW__SECTION__KEY`.

Never reads a configuration file; the binary puts what matters into the environment.
"""

from __future__ import annotations

import os

from airflow.exceptions import AirflowConfigException

_UNSET = object()
_TRUE = {"t", "true", "1", "yes", "on"}
_FALSE = {"f", "false", "0", "no", "off"}


class Configuration:
    """Read-only view of the environment."""

    def get(self, section: str, key: str, fallback=_UNSET, **_ignored):
        name = f"AIRFLOW__{section.upper().replace('.', '_')}__{key.upper()}"
        value = os.environ.get(name)
        if value is not None:
            return value
        if fallback is not _UNSET:
            return fallback
        raise AirflowConfigException(
            f"section/key [{section}/{key}] is not set: set the environment variable {name}"
        )

    def getboolean(self, section: str, key: str, fallback=_UNSET, **_ignored) -> bool:
        value = self.get(section, key, fallback)
        text = str(value).strip().lower()
        if isinstance(value, bool) or value is None:
            return value
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        raise AirflowConfigException(f"[{section}/{key}] is {value!r}, not a boolean")

    def getint(self, section: str, key: str, fallback=_UNSET, **_ignored) -> int:
        return self._number(int, section, key, fallback)

    def getfloat(self, section: str, key: str, fallback=_UNSET, **_ignored) -> float:
        return self._number(float, section, key, fallback)

    def has_option(self, section: str, key: str) -> bool:
        return self.get(section, key, None) is not None

    def _number(self, kind, section, key, fallback):
        value = self.get(section, key, fallback)
        try:
            return value if value is None else kind(value)
        except (TypeError, ValueError):
            raise AirflowConfigException(f"[{section}/{key}] is {value!r}, not a number") from None


conf = Configuration()

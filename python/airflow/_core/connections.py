"""Connections from environment variables `AIRFLOW_CONN_<ID>`: a URI or a JSON object."""

from __future__ import annotations

import json
import logging
import os
from urllib.parse import parse_qsl, unquote, urlsplit

from airflow.exceptions import AirflowNotFoundException

ENV_PREFIX = "AIRFLOW_CONN_"
_FIELDS = ("conn_type", "host", "login", "password", "schema", "port")


class Connection:
    """Where something is and how to log in there."""

    def __init__(self, conn_id=None, *, extra=None, uri=None, **fields):
        unknown = set(fields) - {*_FIELDS, "description"}
        if unknown:
            raise TypeError(f"Connection() got unexpected arguments: {', '.join(sorted(unknown))}")
        if uri:
            fields, extra = _from_uri(uri)
        self.conn_id = conn_id
        for name in _FIELDS:
            setattr(self, name, fields.get(name))
        self.port = int(self.port) if self.port else None
        self.extra = json.dumps(extra) if isinstance(extra, dict) else extra

    @property
    def extra_dejson(self) -> dict:
        return json.loads(self.extra) if self.extra else {}

    @classmethod
    def get(cls, conn_id: str) -> Connection:
        """The connection of that id; raises when the environment has none."""
        name = ENV_PREFIX + conn_id.upper()
        text = os.environ.get(name)
        if text is None:
            raise AirflowNotFoundException(
                f"the connection {conn_id!r} is not defined: set the environment variable {name}"
            )
        if text.lstrip().startswith("{"):
            return cls(conn_id, **json.loads(text))
        return cls(conn_id, uri=text)

    get_connection_from_secrets = get

    def __repr__(self) -> str:
        return f"Connection({self.conn_id!r})"


class BaseHook:
    """Base of clients of other systems."""

    def __init__(self, *_args, **_kwargs):
        pass

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        return Connection.get(conn_id)

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"airflow.task.hooks.{type(self).__name__}")


def _from_uri(uri: str) -> tuple[dict, dict | None]:
    parts = urlsplit(uri)
    fields = {
        "conn_type": parts.scheme.replace("-", "_"),
        "host": unquote(parts.hostname or "") or None,
        "login": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "schema": unquote(parts.path.lstrip("/")) or None,
        "port": parts.port,
    }
    extra = dict(parse_qsl(parts.query))
    if "__extra__" in extra:
        extra = json.loads(extra["__extra__"])
    return fields, extra or None

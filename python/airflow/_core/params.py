"""Params of DAGs and tasks: plain values or `Param` objects."""

from __future__ import annotations

from airflow.exceptions import ParamValidationError

NOTSET = object()


class Param:
    """A default value with an optional JSON-schema description.

    Only the default is used: the schema is kept for readers and not enforced here.
    """

    def __init__(self, default=NOTSET, description: str | None = None, **schema):
        self._default = default
        self.description = description
        self.schema = schema.pop("schema", schema)

    @property
    def has_value(self) -> bool:
        return self._default is not NOTSET

    @property
    def value(self):
        if not self.has_value:
            raise ParamValidationError("no value passed and the Param has no default")
        return self._default

    default = value

    def resolve(self, value=NOTSET, suppress_exception: bool = False):
        if value is not NOTSET:
            self._default = value
        if not self.has_value and suppress_exception:
            return None
        return self.value

    def dump(self) -> dict:
        value = self._default if self.has_value else None
        return {"value": value, "schema": self.schema, "description": self.description}

    def __repr__(self) -> str:
        return f"Param({self._default!r})" if self.has_value else "Param()"


class ParamsDict(dict):
    """Params by name; reading one gives its value, not its `Param`."""

    def __getitem__(self, name):
        return plain(super().__getitem__(name))

    def get(self, name, default=None):
        return plain(super().get(name, default))

    def values(self):
        return [self[name] for name in self]

    def items(self):
        return [(name, self[name]) for name in self]

    def get_param(self, name):
        return super().__getitem__(name)

    def defaults(self) -> dict:
        """Values of all params that have one."""
        raw = ((name, dict.__getitem__(self, name)) for name in self)
        return {
            name: plain(value)
            for name, value in raw
            if not isinstance(value, Param) or value.has_value
        }


def plain(value):
    """The value of a `Param`, or the value itself."""
    return value.value if isinstance(value, Param) else value

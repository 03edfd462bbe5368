"""A base class for plugin files; plugins add nothing here."""


class AirflowPlugin:
    """Accepted so that plugin modules can be imported."""

    name: str | None = None

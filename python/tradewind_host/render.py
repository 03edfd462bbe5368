"""Templates that the Rust engine could not render, rendered with Jinja2 if it is installed."""

from __future__ import annotations

from airflow.exceptions import AirflowException


class Renderer:
    """Renders texts of one DAG; Jinja2 is imported only when there is something to render."""

    def __init__(self, dag, folders: list[str]):
        self._dag = dag
        self._folders = folders
        self._environment = None

    def field(self, item: dict, context: dict):
        """The value of one unrendered field."""
        name = _path_text(item["path"])
        try:
            environment = self._jinja()
        except ImportError:
            raise AirflowException(
                f"the template in {name} could not be rendered: {item.get('error', '')} "
                "(install Jinja2 on the worker to use all of its syntax)"
            ) from None
        try:
            return environment.from_string(item["source"]).render(self._with_macros(context))
        except Exception as error:
            raise AirflowException(
                f"the template in {name} could not be rendered: {type(error).__name__}: {error}"
            ) from error

    def _with_macros(self, context: dict) -> dict:
        return {**context, **(self._dag.user_defined_macros or {})}

    def _jinja(self):
        if self._environment is None:
            self._environment = self._build()
        return self._environment

    def _build(self):
        import jinja2
        from jinja2 import nativetypes, sandbox

        native = self._dag.render_template_as_native_obj
        kind = nativetypes.NativeEnvironment if native else sandbox.SandboxedEnvironment
        options = {
            "loader": jinja2.FileSystemLoader(self._folders),
            "undefined": self._dag.template_undefined or jinja2.StrictUndefined,
            "extensions": ["jinja2.ext.do"],
            "cache_size": 0,
            **(self._dag.jinja_environment_kwargs or {}),
        }
        environment = kind(**options)
        environment.filters.update(FILTERS)
        environment.filters.update(self._dag.user_defined_filters or {})
        return environment


def _path_text(path: list) -> str:
    first, *rest = path
    return str(first) + "".join(f"[{part!r}]" for part in rest)


def _ts_with_zone(value) -> str:
    return value.isoformat().replace("-", "").replace(":", "")


FILTERS = {
    "ds": lambda value: value.strftime("%Y-%m-%d"),
    "ds_nodash": lambda value: value.strftime("%Y%m%d"),
    "ts": lambda value: value.isoformat(),
    "ts_nodash": lambda value: value.strftime("%Y%m%dT%H%M%S"),
    "ts_nodash_with_tz": _ts_with_zone,
}

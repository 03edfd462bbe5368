"""Which Airflow generation a DAG file was written for, from its imports. Never runs the file."""

from __future__ import annotations

import ast

V1, V2, V3 = "1.10", "2", "3"

_THIRD = ("airflow.sdk", "airflow.providers.standard")
_SECOND = (
    "airflow.decorators",
    "airflow.providers",
    "airflow.datasets",
    "airflow.timetables",
    "airflow.utils.task_group",
    "airflow.utils.edgemodifier",
    "airflow.models.param",
    "airflow.operators.bash",
    "airflow.operators.python",
    "airflow.operators.empty",
    "airflow.operators.dummy",
    "airflow.operators.branch",
    "airflow.operators.latest_only",
    "airflow.operators.trigger_dagrun",
    "airflow.operators.subdag",
    "airflow.operators.email",
    "airflow.sensors.base",
    "airflow.sensors.python",
    "airflow.sensors.filesystem",
    "airflow.sensors.external_task",
    "airflow.hooks.base",
)
_DAYS_AGO = "airflow.utils.dates.days_ago"
_FIRST_SUFFIXES = ("_operator", "_hook", "_sensor")
_FIRST = ("airflow.contrib", "airflow.operators", "airflow.sensors", "airflow.hooks")


def detect(source: bytes) -> str:
    """The generation by import paths; V2 when they say nothing or the file has a syntax error."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return V2
    modules, names = _imports(tree)
    if any(_under(module, _THIRD) for module in modules):
        return V3
    if any(_under(module, _SECOND) for module in modules):
        return V2
    first = any(
        module.endswith(_FIRST_SUFFIXES) or module in _FIRST or _under(module, _FIRST[:1])
        for module in modules
    )
    return V1 if first or _DAYS_AGO in names else V2


def refine(detected: str, source: bytes, marks: set[str]) -> str:
    """Takes into account what the file did when it ran: arguments that only 1.10 files use."""
    if detected != V2 or not marks & {"positional_schedule", "provide_context"}:
        return detected
    modules, _ = _imports(ast.parse(source))
    return V2 if any(_under(module, _SECOND) for module in modules) else V1


def _imports(tree: ast.AST) -> tuple[set[str], set[str]]:
    modules: set[str] = set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and node.attr == "days_ago":
            names.add(_DAYS_AGO)
    # `from airflow.operators import bash` names a module too; `import BashOperator` does not.
    modules |= {name for name in names if _under(name, _SECOND + _THIRD)}
    modules = {module for module in modules if _under(module, ("airflow",))}
    short = {m for m in modules if m in _FIRST and not _imports_class(names, m)}
    return modules - short, names


def _imports_class(names: set[str], module: str) -> bool:
    prefix = module + "."
    return any(n.startswith(prefix) and n[len(prefix) :][:1].isupper() for n in names)


def _under(module: str, roots) -> bool:
    return any(module == root or module.startswith(root + ".") for root in roots)

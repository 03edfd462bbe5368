"""Passing the task context to user functions by what their signatures ask for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping

if sys.version_info >= (3, 14):
    import annotationlib

    # Annotations may name what is imported only for type checkers.
    _SIGNATURE = {"annotation_format": annotationlib.Format.FORWARDREF}
else:
    _SIGNATURE = {}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def signature(function: Callable) -> inspect.Signature:
    """The signature, without a need for its annotations to exist."""
    return inspect.signature(function, **_SIGNATURE)


def call_with_context(function: Callable, args, kwargs: Mapping, context: Mapping):
    """Calls `function(*args, **kwargs)` plus the context names that it has parameters for."""
    return function(*args, **select_kwargs(function, args, {**context, **kwargs}, kwargs))


def select_kwargs(function: Callable, args, available: Mapping, own: Mapping) -> dict:
    """Those of `available` that the function can take by name.

    `own` are the author's keyword arguments: they are always passed, so that a wrong one is
    reported by Python itself.
    """
    try:
        parameters = list(signature(function).parameters.values())
    except (TypeError, ValueError):
        return dict(own)
    taken = {p.name for p in parameters[: len(args)] if p.kind in _POSITIONAL}
    for name in taken & set(available):
        if name in own:
            raise ValueError(f"the argument {name!r} is given both by position and by name")
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return {name: value for name, value in available.items() if name not in taken}
    names = {p.name for p in parameters if p.kind is not inspect.Parameter.POSITIONAL_ONLY}
    names = (names - taken) | set(own)
    return {name: value for name, value in available.items() if name in names}

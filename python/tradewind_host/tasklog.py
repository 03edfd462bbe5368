"""Logging inside an attempt: everything from INFO up goes to the task's output."""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(levelname)s {%(filename)s:%(lineno)d} %(message)s"


def set_up() -> None:
    """The worker adds times, so lines carry none. Handlers of the DAG file are kept."""
    logging.captureWarnings(True)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(_FORMAT))
    ours = logging.getLogger("airflow")
    ours.handlers = [handler]
    ours.setLevel(logging.INFO)
    ours.propagate = False
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(handler)
        root.setLevel(logging.INFO)

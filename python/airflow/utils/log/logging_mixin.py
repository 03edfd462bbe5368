"""A `log` property for classes of DAG authors."""

import logging


class LoggingMixin:
    """Gives a class its own logger, whose lines go to the task log."""

    @property
    def log(self) -> logging.Logger:
        return logging.getLogger(f"airflow.task.{type(self).__module__}.{type(self).__name__}")

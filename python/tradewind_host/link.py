"""The control connection of an attempt: requests to the worker, strictly in turn."""

from __future__ import annotations

import socket
import threading

from airflow.exceptions import AirflowException
from tradewind_host import wire, xcoms


class Link:
    """Answers what `airflow._core.runtime` asks for."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        # Tasks may start threads of their own.
        self._lock = threading.Lock()

    def xcom(self, dag_id, run_id, task_ids, key, include_prior_dates) -> list[tuple]:
        """[(task id, map index, value)] as the store has them."""
        reply = self._request(
            {
                "type": "xcom",
                "dag_id": dag_id,
                "run_id": run_id,
                "task_ids": task_ids,
                "key": key,
                "include_prior_dates": include_prior_dates,
            }
        )
        return [(task, index, xcoms.decode(value)) for task, index, value in reply["values"]]

    def variable(self, key: str) -> str | None:
        return self._request({"type": "variable", "key": key})["value"]

    def done(self, frame: dict) -> None:
        with self._lock:
            wire.send_frame(self._sock, {"type": "done", **frame})

    def _request(self, value: dict) -> dict:
        with self._lock:
            wire.send_frame(self._sock, value)
            reply = wire.receive_frame(self._sock)
        if "error" in reply:
            raise AirflowException(f"the worker could not answer: {reply['error']}")
        return reply

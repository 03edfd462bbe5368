"""The root's view of one zygote: what waits for it and what it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from tradewind_host import processes, wire


class ZygoteHandle:
    """Commands are held back until the zygote has imported its file, so writes never block."""

    def __init__(self, pid: int, version: tuple, sock: socket.socket, deadline: float):
        self.pid = pid
        self.version = version
        self.sock = sock
        self.reader = wire.LineReader(sock.fileno())
        # End of the time allowed for the import; None once it is over.
        self.deadline: float | None = deadline
        # Attempts handed to it, and the process ids that are known.
        self.attempts: dict[str, None] = {}
        self.pids: dict[str, int] = {}
        self._waiting: list[dict] = []
        self._retired = False

    def run(self, command: dict) -> None:
        self.attempts[command["attempt"]] = None
        if self.deadline is None:
            self._send(command)
        else:
            self._waiting.append(command)

    def loaded(self) -> None:
        """The import is over: hand over what has waited."""
        self.deadline = None
        waiting, self._waiting = self._waiting, []
        for command in waiting:
            self._send(command)
        if self._retired:
            self._send({"op": "retire"})

    def retire(self) -> None:
        """No more attempts; it ends when those it has are done."""
        self._retired = True
        if self.deadline is None:
            self._send({"op": "retire"})

    def forget(self, attempt_id: str) -> None:
        self.attempts.pop(attempt_id, None)
        self.pids.pop(attempt_id, None)

    def forget_all(self) -> list[str]:
        attempts = list(self.attempts)
        self.attempts.clear()
        self.pids.clear()
        self._waiting.clear()
        return attempts

    def kill(self) -> None:
        processes.kill_group(self.pid)
        # It may not have become the leader of its group yet.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _send(self, value: dict) -> None:
        # When it is gone, its end is read from the socket next, and all it had is reported then.
        with contextlib.suppress(OSError):
            wire.send_line(self.sock.fileno(), value)

"""A process that has imported one version of one DAG file and forks its attempts."""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import socket
import warnings

from tradewind_host import attempt, errors, loader, paths, processes, wire

POLL_SECONDS = 1.0


def socket_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def main(options, version: tuple, sock: socket.socket, root_pid: int) -> None:
    """Never returns normally: ends the process."""
    os.setpgid(0, 0)
    # The import may block for long, and the end of the socket is not seen meanwhile.
    processes.die_with_parent(True)
    if os.getppid() != root_pid:
        os._exit(0)
    processes.default_signals()
    processes.rebind_output()
    fileloc, wanted_hash = version
    error, actual_hash, module = _load(options.dags_folder, fileloc)
    processes.flush_output()
    reusable = actual_hash == wanted_hash
    with contextlib.suppress(OSError):
        wire.send_line(sock.fileno(), {"op": "loaded", "error": error, "reusable": reusable})
    if error is not None:
        os._exit(0)
    processes.die_with_parent(False)
    skew = None if reusable else f"{fileloc} on this worker differs from the version scheduled"
    gc.collect()
    gc.freeze()
    warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
    Zygote(options, module, sock, skew).run()
    os._exit(0)


def _load(dags_folder: str, fileloc: str):
    """(error text, hash, module)."""
    outer, _ = paths.split_archive(fileloc)
    path = os.path.join(dags_folder, *outer.split("/"))
    try:
        actual_hash = paths.source_hash(path)
        module = loader.load(dags_folder, fileloc)[0]
    except BaseException as error:
        return f"cannot load the DAG file {fileloc}: {error!r}", "", None
    if module.error is not None:
        return _error_text(fileloc, module.error), actual_hash, module
    return None, actual_hash, module


def _error_text(fileloc: str, error: dict) -> str:
    where = f"{fileloc}, line {error['line']}" if error["line"] else fileloc
    text = f"import of the DAG file failed ({where}): {error['message']}"
    return f"{text}\n{error['detail']}"[: errors.DETAIL_CHARS_MAX]


class Zygote:
    """Forks on command, reaps, and dies with the root."""

    def __init__(self, options, module, sock: socket.socket, skew: str | None):
        self._options = options
        self._module = module
        self._sock = sock
        self._skew = skew
        self._reader = wire.LineReader(sock.fileno())
        self._signals = processes.ChildSignals()
        self._attempts: dict[int, str] = {}
        self._retired = False

    def run(self) -> None:
        selector = selectors.PollSelector()
        selector.register(self._reader.fd, selectors.EVENT_READ, self._commands)
        selector.register(self._signals.fd, selectors.EVENT_READ, self._signals.drain)
        while not (self._retired and not self._attempts):
            for key, _ in selector.select(POLL_SECONDS):
                key.data()
            self._reap()

    def _commands(self) -> None:
        commands = self._reader.read()
        if commands is None:
            self._end()
        for command in commands:
            if command["op"] == "retire":
                self._retired = True
            else:
                self._fork(command)

    def _fork(self, command: dict) -> None:
        attempt_id = command["attempt"]
        processes.flush_output()
        own_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(
                {"op": "ended", "attempt": attempt_id, "code": 1, "error": f"fork failed: {error}"}
            )
            return
        if pid == 0:
            code = 1
            try:
                self._signals.close()
                self._sock.close()
                code = attempt.main(self._options, self._module, command, own_pid, self._skew)
            finally:
                os._exit(code)
        self._attempts[pid] = attempt_id
        self._tell({"op": "started", "attempt": attempt_id, "pid": pid})

    def _reap(self) -> None:
        for pid in list(self._attempts):
            code = processes.ended(pid)
            if code is not None:
                attempt_id = self._attempts.pop(pid)
                reported = code == attempt.EXIT_REPORTED
                self._tell(
                    {"op": "ended", "attempt": attempt_id, "code": None if reported else code}
                )

    def _tell(self, value: dict) -> None:
        try:
            wire.send_line(self._sock.fileno(), value)
        except OSError:
            self._end()

    def _end(self) -> None:
        """The root is gone: so is everything below."""
        for pid in self._attempts:
            processes.kill_group(pid)
        os._exit(0)

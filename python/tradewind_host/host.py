"""`python3 -m tradewind_host.host`: the root of the warm tree of forks.

Reads commands on stdin, keeps one zygote per DAG file version, and answers on stdout only what an
attempt could not say itself. Runs no code of DAG files.
"""

from __future__ import annotations

import argparse
import gc
import os
import selectors
import sys
import time
from collections import OrderedDict

# Everything that attempts need is imported before the first fork.
from tradewind_host import attempt, paths, processes, wire, zygote  # noqa: F401
from tradewind_host.zygote_handle import ZygoteHandle

POLL_SECONDS = 1.0
ZYGOTES_MAX = 16
IMPORT_SECONDS_MAX = 120.0
STOP_SECONDS = 2.0


class Root:
    """The dispatcher: commands in, forks out."""

    def __init__(self, options, stdin: int, stdout: int):
        self._options = options
        self._stdin = wire.LineReader(stdin)
        self._stdout = stdout
        self._by_version: OrderedDict[tuple, ZygoteHandle] = OrderedDict()
        self._by_pid: dict[int, ZygoteHandle] = {}
        self._selector = selectors.PollSelector()
        self._signals = processes.ChildSignals()
        self._running = True

    def run(self) -> None:
        """Serves until `stop` or the end of stdin; nothing survives it."""
        self._selector.register(self._stdin.fd, selectors.EVENT_READ, self._commands)
        self._selector.register(self._signals.fd, selectors.EVENT_READ, self._reap)
        self._answer({"op": "ready", "pid": os.getpid()})
        while self._running:
            for key, _ in self._selector.select(POLL_SECONDS):
                key.data()
            self._expire()
        self._kill_all()

    def _answer(self, value: dict) -> None:
        try:
            wire.send_line(self._stdout, value)
        except OSError:
            self._running = False

    def _exited(self, attempt_id: str, code: int, error: str) -> None:
        self._answer({"op": "exited", "attempt": attempt_id, "code": code, "error": error})

    def _commands(self) -> None:
        commands = self._stdin.read()
        if commands is None:
            self._running = False
            return
        for command in commands:
            if command.get("op") == "run":
                self._start(command)
            elif command.get("op") == "stop":
                self._running = False
            else:
                os.write(2, f"task host: unknown command {command.get('op')!r}\n".encode())

    def _start(self, command: dict) -> None:
        attempt_id = command.get("attempt", "")
        try:
            handle = self._zygote(command["fileloc"], command.get("source_hash") or "")
        except (OSError, KeyError) as error:
            self._exited(attempt_id, 1, f"cannot start a process for the DAG file: {error!r}")
            return
        handle.run(command)

    def _zygote(self, fileloc: str, source_hash: str) -> ZygoteHandle:
        if not source_hash:
            outer, _ = paths.split_archive(fileloc)
            source_hash = paths.source_hash(os.path.join(self._options.dags_folder, outer))
        version = (fileloc, source_hash)
        handle = self._by_version.get(version)
        if handle is not None:
            self._by_version.move_to_end(version)
            return handle
        while len(self._by_version) >= self._options.max_zygotes:
            _, oldest = self._by_version.popitem(last=False)
            oldest.retire()
        handle = self._fork(version)
        self._by_version[version] = handle
        self._by_pid[handle.pid] = handle
        self._selector.register(
            handle.sock, selectors.EVENT_READ, lambda: self._from_zygote(handle)
        )
        return handle

    def _fork(self, version: tuple) -> ZygoteHandle:
        ours, theirs = zygote.socket_pair()
        processes.flush_output()
        root_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self._become_child(ours)
                zygote.main(self._options, version, theirs, root_pid)
            finally:
                os._exit(1)
        theirs.close()
        return ZygoteHandle(pid, version, ours, time.monotonic() + self._options.import_timeout)

    def _become_child(self, ours) -> None:
        """Lets go of everything that only the root may hold: its end must end with it."""
        self._signals.close()
        ours.close()
        os.close(self._stdin.fd)
        os.close(self._stdout)
        for handle in self._by_pid.values():
            handle.sock.close()

    def _from_zygote(self, handle: ZygoteHandle) -> None:
        values = handle.reader.read()
        if values is None:
            self._selector.unregister(handle.sock)
            self._lost(handle)
            return
        for value in values:
            if value["op"] == "loaded":
                self._loaded(handle, value)
            elif value["op"] == "started":
                handle.pids[value["attempt"]] = value["pid"]
            elif value["op"] == "ended":
                handle.forget(value["attempt"])
                if value["code"] is not None:
                    error = value.get("error") or processes.exit_text(value["code"])
                    self._exited(value["attempt"], value["code"], error)

    def _loaded(self, handle: ZygoteHandle, value: dict) -> None:
        if value["error"] is not None or not value["reusable"]:
            self._drop(handle)
        if value["error"] is not None:
            for attempt_id in handle.forget_all():
                self._exited(attempt_id, 1, value["error"])
            return
        handle.loaded()
        if not value["reusable"]:
            handle.retire()

    def _lost(self, handle: ZygoteHandle) -> None:
        """A zygote has ended; its attempts cannot go on without anybody to report them."""
        self._drop(handle)
        for pid in handle.pids.values():
            processes.kill_group(pid)
        for attempt_id in handle.forget_all():
            self._exited(attempt_id, 1, "the process that had imported the DAG file died")
        handle.sock.close()
        handle.kill()
        processes.wait_dead(handle.pid)
        self._by_pid.pop(handle.pid, None)

    def _drop(self, handle: ZygoteHandle) -> None:
        if self._by_version.get(handle.version) is handle:
            del self._by_version[handle.version]

    def _reap(self) -> None:
        """Zygotes end by closing their socket; the signal only wakes the loop."""
        self._signals.drain()

    def _expire(self) -> None:
        now = time.monotonic()
        for handle in list(self._by_pid.values()):
            if handle.deadline is not None and now > handle.deadline:
                handle.deadline = None
                for attempt_id in handle.forget_all():
                    seconds = self._options.import_timeout
                    text = f"the import of the DAG file took more than {seconds:g} s"
                    self._exited(attempt_id, 1, text)
                handle.kill()

    def _kill_all(self) -> None:
        """Zygotes kill their attempts when their socket ends; those that do not are killed too."""
        handles = list(self._by_pid.values())
        for handle in handles:
            for pid in handle.pids.values():
                processes.kill_group(pid)
            handle.sock.close()
        deadline = time.monotonic() + STOP_SECONDS
        for handle in handles:
            while processes.ended(handle.pid) is None:
                if time.monotonic() > deadline or handle.deadline is not None:
                    handle.kill()
                time.sleep(0.002)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tradewind_host.host")
    parser.add_argument("--dags-folder", required=True)
    parser.add_argument("--socket", required=True, help="Unix socket that the worker listens on")
    parser.add_argument("--max-zygotes", type=int, default=ZYGOTES_MAX)
    parser.add_argument("--import-timeout", type=float, default=IMPORT_SECONDS_MAX)
    options = parser.parse_args(arguments)
    options.dags_folder = os.path.abspath(options.dags_folder)
    options.socket = os.path.abspath(options.socket)
    options.max_zygotes = max(1, options.max_zygotes)
    # The protocol moves to private descriptors: whoever prints, prints to stderr.
    stdin, stdout = os.dup(0), os.dup(1)
    processes.null_stdin()
    os.dup2(2, 1)
    paths.set_up(options.dags_folder)
    gc.collect()
    gc.freeze()
    Root(options, stdin, stdout).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Process plumbing: child signals in a poll loop, death with the parent, killing of groups."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys

_PR_SET_PDEATHSIG = 1
try:
    _prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
except (OSError, AttributeError):
    _prctl = None


def die_with_parent(enabled: bool = True) -> None:
    """Lets the kernel kill this process when its parent dies (Linux; elsewhere a no-op)."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL) if enabled else 0, 0, 0, 0)


class ChildSignals:
    """Makes SIGCHLD a readable descriptor."""

    def __init__(self):
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)

    @property
    def fd(self) -> int:
        return self._read.fileno()

    def drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._read.recv(4096):
                pass

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._read.close()
        self._write.close()


def default_signals() -> None:
    """What a fresh process would have."""
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def ended(pid: int) -> int | None:
    """The exit code of a child that has ended, negative for a signal; None while it runs.

    Everything left in the child's process group is killed before the pid is given back, so that
    the number cannot belong to somebody else by then.
    """
    try:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        kill_group(pid)
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        return -int(signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def wait_dead(pid: int) -> None:
    """Waits for a child that was killed."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def exit_text(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"the task's process exited with code {code} without reporting an outcome"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"the task's process was killed by signal {-code} ({name})"


def null_stdin() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    os.dup2(fd, 0, inheritable=True)
    if fd != 0:
        os.close(fd)


def rebind_output() -> None:
    """Fresh line-buffered text streams over descriptors 1 and 2."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = open(  # noqa: SIM115 - lives as long as the process
            fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()

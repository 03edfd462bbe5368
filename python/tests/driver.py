"""The worker's side of docs/task-host.md, small enough for tests."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

PYTHON = str(Path(__file__).resolve().parent.parent)
sys.path.insert(0, PYTHON)
DEADLINE = 20.0

# The wait loop is a selector: nothing sleeps, everything ends at the deadline.


class Attempt:
    """What the worker learns about one attempt."""

    def __init__(self, attempt_id: str, frame: dict):
        self.id = attempt_id
        self.frame = frame
        self.pid: int | None = None
        self.done: dict | None = None
        self.exited: dict | None = None
        self.log = b""
        self.control_closed = False
        self.log_closed = False
        self.started = time.monotonic()
        self.seconds: float | None = None

    @property
    def text(self) -> str:
        return self.log.decode()

    def values(self) -> dict:
        return {x["key"]: json.loads(x["json"]) for x in self.done["xcoms"]}


class Connection:
    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.data = b""
        self.attempt: Attempt | None = None
        self.role = ""


class Worker:
    """Starts a host and serves its attempts. Use as a context manager."""

    def __init__(self, files: dict[str, str], *options: str):
        self.folder = Path(tempfile.mkdtemp(prefix="tw-host-"))
        self.dags = self.folder / "dags"
        self.dags.mkdir()
        for name, text in files.items():
            self.write(name, text)
        self.xcoms: dict[tuple, object] = {}
        self.variables: dict[str, str] = {}
        self.requests: list[dict] = []
        self.attempts: dict[str, Attempt] = {}
        path = str(self.folder / "s")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(path)
        self.listener.listen(64)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        command = [sys.executable, "-m", "tradewind_host.host"]
        command += ["--dags-folder", str(self.dags), "--socket", path, *options]
        env = {**os.environ, "PYTHONPATH": PYTHON}
        self.stderr = open(self.folder / "stderr", "w+b")  # noqa: SIM115
        self.host = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.stderr, env=env
        )
        self._out = b""
        self.ready = False
        self.selector.register(self.host.stdout, selectors.EVENT_READ, self._answers)
        self.wait(lambda: self.ready)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_exc) -> None:
        self.host.stdin.close()
        self.host.wait(DEADLINE)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        self.host.stdout.close()
        self.stderr.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, name: str, text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        (self.dags / name).write_bytes(data)

    def spec(self, fileloc: str) -> dict:
        """What the parser says about a file."""
        out = self.folder / "parsed"
        command = [sys.executable, "-m", "tradewind_host.parse"]
        command += ["--dags-folder", str(self.dags), "--file", fileloc, "--out", str(out)]
        env = {**os.environ, "PYTHONPATH": PYTHON}
        subprocess.run(command, check=True, env=env, timeout=DEADLINE)
        return json.loads(out.read_text())

    def start(self, fileloc: str, dag_id: str, task_id: str, **more) -> Attempt:
        """Sends a run command; the frame goes out when the attempt connects."""
        attempt_id = str(uuid.uuid4())
        run = {**run_context(dag_id), **more.pop("context", {})}
        source_hash = more.pop("source_hash", "")
        frame = {
            "mode": "run",
            "context": run,
            "task": {},
            "rendered": [],
            "dag_id": dag_id,
            "task_id": task_id,
            "attempt_id": attempt_id,
            "hostname": "h1",
            "xcom_bytes_max": 262144,
            "xcoms_total_bytes_max": 1048576,
            **more,
        }
        attempt = self.attempts[attempt_id] = Attempt(attempt_id, frame)
        self.command(
            op="run",
            attempt=attempt_id,
            fileloc=fileloc,
            source_hash=source_hash,
            dag_id=dag_id,
            task_id=task_id,
        )
        return attempt

    def run(self, fileloc: str, dag_id: str, task_id: str, **more) -> Attempt:
        """Runs an attempt to its end, as the worker sees it."""
        attempt = self.start(fileloc, dag_id, task_id, **more)
        self.wait(lambda: attempt.exited or (attempt.done and attempt.log_closed))
        return attempt

    def command(self, **value) -> None:
        self.host.stdin.write(json.dumps(value).encode() + b"\n")
        self.host.stdin.flush()

    def wait(self, condition, seconds: float = DEADLINE) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                self.stderr.seek(0)
                raise AssertionError(f"deadline; stderr: {self.stderr.read().decode()}")
            for key, _ in self.selector.select(min(left, 0.05)):
                key.data()

    def _answers(self) -> None:
        data = os.read(self.host.stdout.fileno(), 65536)
        if not data:
            self.selector.unregister(self.host.stdout)
            return
        *lines, self._out = (self._out + data).split(b"\n")
        for line in lines:
            value = json.loads(line)
            if value["op"] == "ready":
                self.ready = True
            else:
                assert value["op"] == "exited", value
                self.attempts[value["attempt"]].exited = value

    def _accept(self) -> None:
        sock, _ = self.listener.accept()
        connection = Connection(sock)
        self.selector.register(sock, selectors.EVENT_READ, lambda: self._read(connection))

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            self.selector.unregister(connection.sock)
            connection.sock.close()
            if connection.attempt is not None:
                setattr(connection.attempt, f"{connection.role}_closed", True)
            return
        connection.data += data
        if connection.attempt is None:
            if b"\n" not in connection.data:
                return
            line, connection.data = connection.data.split(b"\n", 1)
            hello = json.loads(line)
            connection.attempt = self.attempts[hello["attempt"]]
            connection.role = hello["role"]
            connection.attempt.pid = hello["pid"]
            if connection.role == "control":
                self._send(connection.sock, connection.attempt.frame)
        if connection.role == "log":
            connection.attempt.log += connection.data
            connection.data = b""
        else:
            self._frames(connection)

    def _frames(self, connection: Connection) -> None:
        while len(connection.data) >= 4:
            (length,) = struct.unpack(">I", connection.data[:4])
            if len(connection.data) < 4 + length:
                return
            value = json.loads(connection.data[4 : 4 + length])
            connection.data = connection.data[4 + length :]
            if value["type"] == "done":
                connection.attempt.done = value
                connection.attempt.seconds = time.monotonic() - connection.attempt.started
            else:
                self.requests.append(value)
                self._send(connection.sock, self._answer(value))

    def _answer(self, value: dict) -> dict:
        if value["type"] == "variable":
            if value["key"] == "broken":
                return {"error": "store away"}
            return {"value": self.variables.get(value["key"])}
        found = [
            [task, -1, self.xcoms[task, value["key"]]]
            for task in value["task_ids"]
            if (task, value["key"]) in self.xcoms
        ]
        return {"values": found}

    @staticmethod
    def _send(sock: socket.socket, value: dict) -> None:
        body = json.dumps(value).encode()
        sock.sendall(struct.pack(">I", len(body)) + body)


def run_context(dag_id: str) -> dict:
    return {
        "run": str(uuid.uuid4()),
        "dag_id": dag_id,
        "run_id": "scheduled__2024-01-02T00:00:00+00:00",
        "run_type": "scheduled",
        "logical_date": "2024-01-02T00:00:00Z",
        "data_interval_start": "2024-01-02T00:00:00Z",
        "data_interval_end": "2024-01-03T00:00:00Z",
        "run_after": "2024-01-03T00:00:00Z",
        "start_date": "2024-01-03T00:00:01.123456789Z",
        "conf": {},
        "params": {},
        "try_number": 1,
        "max_tries": 0,
        "map_index": -1,
        "timezone": "UTC",
        "upstream": [],
        "prev_success_interval": None,
    }


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"

"""The process of one attempt: connects to the worker, runs the task, reports how it ended."""

from __future__ import annotations

import os
import random
import signal
import socket

from airflow._core import runtime
from airflow.exceptions import AirflowException
from tradewind_host import context as contexts
from tradewind_host import processes, serialize, tasklog, wire
from tradewind_host.execution import Execution
from tradewind_host.link import Link
from tradewind_host.outbox import Outbox
from tradewind_host.render import Renderer

# Tells the zygote that the last frame was sent: nothing else needs to be said about the end.
EXIT_REPORTED = 173
EXIT_NO_WORKER = 74
XCOM_BYTES_MAX = 256 * 1024
XCOMS_TOTAL_BYTES_MAX = 1024 * 1024


def main(options, module, command: dict, parent: int, skew: str | None) -> int:
    """Runs in a fresh fork; returns the exit code."""
    os.setsid()
    processes.die_with_parent(True)
    if os.getppid() != parent:
        return EXIT_NO_WORKER
    processes.default_signals()
    processes.null_stdin()
    random.seed()
    try:
        control, frame = _connect(options.socket, command["attempt"])
    except (OSError, ValueError, wire.ConnectionLost) as error:
        os.write(2, f"attempt {command['attempt']}: no worker: {error}\n".encode())
        return EXIT_NO_WORKER
    processes.rebind_output()
    tasklog.set_up()
    if skew:
        print(f"warning: {skew}", flush=True)
    link = Link(control)
    outcome = _run(module, frame, link)
    processes.flush_output()
    try:
        link.done(outcome)
    except OSError:
        return EXIT_NO_WORKER
    return EXIT_REPORTED


def _connect(path: str, attempt_id: str) -> tuple[socket.socket, dict]:
    """Both connections; the log one becomes stdout and stderr."""
    pid = os.getpid()
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.connect(path)
    wire.send_line(control.fileno(), {"attempt": attempt_id, "role": "control", "pid": pid})
    log = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    log.connect(path)
    wire.send_line(log.fileno(), {"attempt": attempt_id, "role": "log", "pid": pid})
    os.dup2(log.fileno(), 1, inheritable=True)
    os.dup2(log.fileno(), 2, inheritable=True)
    log.close()
    return control, wire.receive_frame(control)


def _run(module, frame: dict, link: Link) -> dict:
    outbox = Outbox(
        frame.get("xcom_bytes_max", XCOM_BYTES_MAX),
        frame.get("xcoms_total_bytes_max", XCOMS_TOTAL_BYTES_MAX),
    )
    try:
        execution = _prepare(module, frame, link, outbox)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        return {"state": "failed", "message": str(error), **outbox.report()}
    return execution.run()


def _prepare(module, frame: dict, link: Link, outbox: Outbox) -> Execution:
    dag = next((dag for dag in module.dags if dag.dag_id == frame["dag_id"]), None)
    if dag is None:
        raise AirflowException(f"{module.fileloc} on this worker has no DAG {frame['dag_id']!r}")
    if not dag.has_task(frame["task_id"]):
        raise AirflowException(
            f"the DAG {dag.dag_id!r} in {module.fileloc} on this worker has no task "
            f"{frame['task_id']!r}"
        )
    task = dag.get_task(frame["task_id"])
    renderer = Renderer(dag, serialize.template_folders(dag, module.file))

    def render_text(text: str) -> str:
        return renderer.field({"path": ["bash_command"], "source": text}, context)

    context = contexts.build(dag, task, frame, outbox, render_text)
    runtime.install(link, context)
    os.environ.update(contexts.environment(context, frame["attempt_id"]))
    if frame.get("trace_parent"):
        os.environ["TRACEPARENT"] = frame["trace_parent"]
    _end_kindly(task)
    return Execution(task, context, frame, outbox, renderer)


def _end_kindly(task) -> None:
    """SIGTERM lets the operator clean up before the worker's kill."""

    def handle(_number, _frame):
        task.on_kill()
        raise AirflowException("task received SIGTERM")

    signal.signal(signal.SIGTERM, handle)

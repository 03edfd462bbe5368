"""Captures which AMQP methods Celery's clients and workers call: `capture_amqp.py FOLDER`.

`cargo xtask capture` runs it with each Python environment and a RabbitMQ
(TRADEWIND_TEST_AMQP_URL). Each scenario has its own queue, and a recording proxy before the server.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import celery
import kombu

from amqp_proxy import Proxy

HERE = Path(__file__).parent
LIMIT = 60.0
SCENARIOS = ("classic", "quorum")


def application(scenario, port):
    """An application with a queue of its own."""
    server = urlsplit(os.environ["TRADEWIND_TEST_AMQP_URL"])
    url = f"amqp://{server.username}:{server.password}@127.0.0.1:{port}{server.path}"
    app = celery.Celery("capture", broker=url, backend="rpc://")
    app.conf.update(
        task_default_queue=f"amqp-{scenario}",
        task_default_queue_type=scenario,
        worker_hijack_root_logger=False,
    )
    if scenario == "quorum":
        # Celery: needed for what is delayed on quorum queues.
        app.conf.update(task_default_exchange_type="topic", task_default_exchange="amqp-topic")

    @app.task(name="capture.add")
    def add(x, y):
        return x + y

    return app


def worker(scenario, port):
    """This script again, as a worker."""
    return subprocess.Popen([sys.executable, __file__, "worker", scenario, str(port)], cwd=HERE)


def run_worker(scenario, port):
    """A Celery worker on a host called `capture`, in this process."""
    import socket

    socket.gethostname = lambda: "capture"
    socket.getfqdn = lambda name="": "capture"
    args = ["worker", "-n", "worker@capture", "-P", "solo", "-E", "-l", "warning"]
    application(scenario, port).worker_main(args)


def client(scenario, port):
    """What a client sends: plain, with priority and expiry, with a wait; and a ping."""
    app = application(scenario, port)
    add = app.tasks["capture.add"]
    end = time.monotonic() + LIMIT
    while not app.control.ping(timeout=1):
        if time.monotonic() > end:
            raise SystemExit("no worker answered")
    assert add.delay(2, 3).get(timeout=LIMIT) == 5
    add.apply_async((2, 3), priority=5, expires=600).get(timeout=LIMIT)
    assert add.apply_async((2, 3), countdown=1).get(timeout=LIMIT) == 5
    app.close()


def capture(scenario):
    """The methods of a worker and of a client."""
    server = urlsplit(os.environ["TRADEWIND_TEST_AMQP_URL"])
    of_worker, of_client = (Proxy(server.hostname, server.port) for _ in range(2))
    process = worker(scenario, of_worker.port)
    try:
        client(scenario, of_client.port)
    finally:
        process.terminate()
        process.wait()
    return {"worker": of_worker.methods(), "client": of_client.methods()}


def readable(value, indent=""):
    """JSON with one method a line."""
    if not isinstance(value, dict) or "method" in value:
        if not isinstance(value, list):
            return json.dumps(value, ensure_ascii=False)
        return "[\n" + ",\n".join(f"{indent} {readable(one)}" for one in value) + f"\n{indent}]"
    lines = (f'{indent} "{name}": {readable(one, indent + " ")}' for name, one in value.items())
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def main():
    """All scenarios, into one file."""
    found = {"versions": {"celery": celery.__version__, "kombu": kombu.__version__}}
    found.update({scenario: capture(scenario) for scenario in SCENARIOS})
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "rabbitmq_methods.json", "w") as file:
        file.write(readable(found) + "\n")


if sys.argv[1] == "worker":
    run_worker(sys.argv[2], int(sys.argv[3]))
else:
    main()

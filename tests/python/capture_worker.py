"""The Celery worker whose results, events and replies are captured: on a host called `capture`."""

import socket
import sys

socket.gethostname = lambda: "capture"
socket.getfqdn = lambda name="": "capture"

from fleet_app import app  # noqa: E402

app.worker_main(["worker", "-n", "worker@capture", "-c", "2", "-l", "warning", *sys.argv[1:]])

"""The Celery application of the interoperability tests: the Rust worker's tasks, in Python.

Used as a client (`send_task` and canvas), and as a worker for the reverse direction:
`celery -A fleet_app worker`. Everything is set by environment variables, so that one file serves
every broker and both versions of Celery.
"""

import os
import time

from celery import Celery

BROKER = os.environ["FLEET_BROKER"]
RESULTS = os.environ.get("FLEET_RESULTS", "rpc://")
QUEUE = os.environ.get("FLEET_QUEUE", "celery")

app = Celery("fleet", broker=BROKER, backend=RESULTS)
app.conf.update(
    task_default_queue=QUEUE,
    task_send_sent_event=os.environ.get("FLEET_SENT_EVENTS") == "1",
    task_track_started=os.environ.get("FLEET_TRACK_STARTED") == "1",
    result_extended=os.environ.get("FLEET_EXTENDED") == "1",
    task_acks_late=os.environ.get("FLEET_ACKS_LATE") == "1",
    task_reject_on_worker_lost=os.environ.get("FLEET_ACKS_LATE") == "1",
    accept_content=["json", "msgpack"],
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
if os.environ.get("FLEET_VISIBILITY"):
    app.conf.broker_transport_options = {
        "visibility_timeout": float(os.environ["FLEET_VISIBILITY"]),
        # Otherwise the sweep for what a dead worker left acts every 100 seconds.
        "unacked_restore_limit": 100,
    }


@app.task(name="fleet.noop")
def noop():
    """Nothing."""


@app.task(name="fleet.add")
def add(x, y):
    """The sum."""
    return x + y


@app.task(name="fleet.mul")
def mul(x, y):
    """The product."""
    return x * y


@app.task(name="fleet.tsum")
def tsum(numbers):
    """The sum of a list."""
    return sum(numbers)


@app.task(name="fleet.echo")
def echo(value):
    """The argument."""
    return value


@app.task(name="fleet.return_kwargs")
def return_kwargs(**kwargs):
    """The keyword arguments."""
    return kwargs


@app.task(name="fleet.sleep")
def sleep(seconds):
    """Waits, and returns for how long."""
    time.sleep(seconds)
    return seconds


@app.task(name="fleet.fail")
def fail(text):
    """Raises `ValueError`."""
    raise ValueError(text)


@app.task(name="fleet.retry_once", bind=True, max_retries=3)
def retry_once(self):
    """Asks for one retry; returns how often it was retried."""
    if self.request.retries == 0:
        raise self.retry(countdown=0.2)
    return self.request.retries


@app.task(name="fleet.retry_always", bind=True, max_retries=2)
def retry_always(self):
    """Asks for retries until there are no more."""
    try:
        raise KeyError("never")
    except KeyError as error:
        raise self.retry(exc=error, countdown=0.1) from error


@app.task(name="fleet.progress", bind=True)
def progress(self, seconds):
    """Tells how far it is, then waits."""
    self.update_state(state="PROGRESS", meta={"done": 1, "total": 2})
    time.sleep(seconds)
    return "done"


@app.task(name="fleet.ids", bind=True)
def ids(self, number):
    """`[number, root id, parent id]`."""
    return [number, self.request.root_id, self.request.parent_id]


@app.task(name="fleet.collect_ids", bind=True)
def collect_ids(self, before, number):
    """The results of earlier tasks and this one's."""
    return [before, [number, self.request.root_id, self.request.parent_id]]


@app.task(name="fleet.priority", bind=True)
def priority(self):
    """The priority of the message."""
    return self.request.delivery_info["priority"]


@app.task(name="fleet.mark", bind=True)
def mark(self, path, word, seconds=0.0):
    """Appends a line to a file before and after waiting: the witness of who ran what."""
    name = self.request.hostname
    for state in ("begin", "done"):
        with open(path, "a") as ledger:
            ledger.write(f"{word} {state} {name}\n")
        if state == "begin":
            time.sleep(seconds)
    return word

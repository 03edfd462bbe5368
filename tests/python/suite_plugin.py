"""A pytest plugin for Celery's own integration suite: our worker in place of Celery's.

Loaded before the suite's conftest, which takes its worker from `celery.contrib.pytest`. Set by
variables: SUITE_WORKER is our worker's program (without it Celery's own worker serves, for
comparison), SUITE_REPORT the file of outcomes, SUITE_PASSED_OVER that of tests that are not to be
run, SUITE_LIMIT the seconds that one test may take, SUITE_LOG the worker's log.
"""

import json
import os
import subprocess
from types import SimpleNamespace

import celery.app.control
import celery.contrib.pytest
import pytest
from celery.utils.nodenames import anon_nodename

WORKER = os.environ.get("SUITE_WORKER")
REPORT = os.environ["SUITE_REPORT"]
LIMIT = float(os.environ.get("SUITE_LIMIT", "240"))
PASSED_OVER = os.environ.get("SUITE_PASSED_OVER")
READY_WITHIN = 60
STOP_WITHIN = 20
TEXT_MAX = 2000


@pytest.fixture(scope="session")
def worker_process(celery_session_app, celery_includes, celery_class_tasks):
    """Our worker, under the name that the suite expects, once it answers."""
    for module in celery_includes:
        celery_session_app.loader.import_task_module(module)
    for task in celery_class_tasks:
        celery_session_app.register_task(task)
    node = anon_nodename()
    variables = {
        **os.environ,
        "FLEET_BROKER": os.environ["TEST_BROKER"],
        "FLEET_RESULTS": os.environ["TEST_BACKEND"],
        "FLEET_NODE": node,
        "FLEET_CONCURRENCY": "1",
    }
    with open(os.environ["SUITE_LOG"], "ab") as log:
        process = subprocess.Popen([WORKER], env=variables, stdout=log, stderr=log)
    try:
        inspect = celery_session_app.control.inspect(destination=[node], timeout=1)
        for _ in range(READY_WITHIN):
            assert process.poll() is None, "the worker has ended; see its log"
            if inspect.ping():
                break
        else:
            pytest.fail(f"the worker did not answer within {READY_WITHIN} s")
        yield SimpleNamespace(hostname=node, app=celery_session_app)
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def first_reply_only(control):
    """There is one worker: once it has answered there is nothing to wait for."""
    init = control.Inspect.__init__

    def limited(self, *args, **kwargs):
        init(self, *args, **{"limit": 1, **kwargs})

    control.Inspect.__init__ = limited


if WORKER:
    first_reply_only(celery.app.control)
    worker_process.__name__ = "celery_session_worker"
    celery.contrib.pytest.celery_session_worker = worker_process


def short(nodeid):
    """A test's name within the suite."""
    return nodeid.split("t/integration/", 1)[-1]


def pytest_collection_modifyitems(config, items):
    """Not all of them; and one limit for all: the suite's own are for other machines."""
    over = set()
    if PASSED_OVER:
        with open(PASSED_OVER) as file:
            over = set(json.load(file))

    def is_over(item):
        parts = short(item.nodeid).split("[", 1)[0].split("::")
        return any("::".join(parts[:length]) in over for length in range(1, len(parts) + 1))

    config.hook.pytest_deselected(items=[item for item in items if is_over(item)])
    items[:] = [item for item in items if not is_over(item)]
    for item in items:
        item.own_markers[:] = [mark for mark in item.own_markers if mark.name != "timeout"]
        item.add_marker(pytest.mark.timeout(LIMIT))


class Outcomes:
    """The worst outcome of each test: failed before skipped before passed."""

    ORDER = ("passed", "skipped", "failed")

    def __init__(self):
        self.found = {}

    def pytest_runtest_logreport(self, report):
        outcome = report.outcome
        if hasattr(report, "wasxfail"):
            # What the suite itself expects to fail says nothing of us.
            outcome = "skipped" if outcome != "passed" else "passed"
        name = short(report.nodeid)
        before, text, seconds = self.found.get(name, ("passed", "", 0.0))
        worst = max(before, outcome, key=self.ORDER.index)
        if outcome == "failed":
            text = str(report.longrepr)[-TEXT_MAX:]
        self.found[name] = (worst, text, round(seconds + report.duration, 2))

    def pytest_runtest_logfinish(self):
        """Written after each test: a run that is broken off has told what it found."""
        with open(REPORT, "w") as file:
            json.dump(
                {
                    name: {"outcome": outcome, "text": text, "seconds": seconds}
                    for name, (outcome, text, seconds) in self.found.items()
                },
                file,
                indent=1,
            )


def pytest_configure(config):
    config.pluginmanager.register(Outcomes(), "outcomes")

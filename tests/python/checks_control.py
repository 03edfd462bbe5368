"""Checks of remote control, events and Celery's command line tools."""

import contextlib
import os
import subprocess
import sys
import threading
import time
import uuid

from celery.exceptions import TaskRevokedError

import fleet_app as tasks
from checks_tasks import WAIT, raising, same, until

NODE = os.environ.get("FLEET_NODE", "celery@rust")
REPLY = 5.0


def celery(*args, limit=60):
    """Runs the `celery` program; its output."""
    command = [sys.executable, "-m", "celery", "-A", "fleet_app", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    assert done.returncode == 0, f"celery {args}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def checks(app):
    """Name → check."""
    found = {}

    def check(function):
        found[function.__name__] = function
        return function

    def ask(method, *args):
        """An inspect command to our node; its answer."""
        inspect = app.control.inspect([NODE], timeout=REPLY, limit=1)
        reply = getattr(inspect, method)(*args)
        assert reply and NODE in reply, f"{method}: {reply!r}"
        return reply[NODE]

    def tell(method, **arguments):
        """A control command to our node; its answer."""
        reply = app.control.broadcast(
            method, arguments=arguments, destination=[NODE], reply=True, timeout=REPLY, limit=1
        )
        assert reply and NODE in reply[0], f"{method}: {reply!r}"
        return reply[0][NODE]

    @contextlib.contextmanager
    def sleeper(seconds=60):
        """A running task; revoked at the end."""
        result = tasks.sleep.delay(seconds)
        until("the sleeper", lambda: any(t["id"] == result.id for t in ask("active")))
        yield result
        app.control.revoke(result.id, terminate=True)
        until("its end", lambda: all(t["id"] != result.id for t in ask("active")))

    @check
    def inspect_ping():
        same(ask("ping"), {"ok": "pong"})
        same(app.control.ping(timeout=REPLY, destination=[NODE]), [{NODE: {"ok": "pong"}}])

    @check
    def inspect_ping_of_another_node_is_not_answered():
        same(app.control.ping(timeout=1, destination=["celery@nobody"]), [])

    @check
    def inspect_stats():
        tasks.add.delay(1, 1).get(timeout=WAIT)
        stats = ask("stats")
        assert stats["total"]["fleet.add"] >= 1, stats
        assert stats["pool"]["max-concurrency"] >= 1 and stats["pid"] > 1, stats
        assert int(stats["clock"]) > 0 and stats["uptime"] >= 0, stats
        for name in ("broker", "prefetch_count", "rusage"):
            assert name in stats, f"{name} in {stats}"

    @check
    def inspect_active_and_query_task():
        with sleeper() as result:
            item = next(task for task in ask("active") if task["id"] == result.id)
            same((item["name"], item["args"], item["hostname"]), ("fleet.sleep", [60], NODE))
            assert abs(time.time() - item["time_start"]) < 60, item
            same(item["delivery_info"]["routing_key"], app.conf.task_default_queue)
            state, again = ask("query_task", result.id)[result.id]
            same((state, again["id"]), ("active", result.id))

    @check
    def inspect_reserved_answers():
        same(ask("reserved"), [])

    @check
    def inspect_scheduled():
        # One that is due soon enough to be looked at by a worker, and late enough to be seen.
        result = tasks.add.apply_async((1, 1), countdown=15)
        until("it to be listed", lambda: any(
            item["request"]["id"] == result.id for item in ask("scheduled")))
        app.control.revoke(result.id)

    @check
    def inspect_registered():
        names = ask("registered")
        assert {"fleet.add", "fleet.sleep"} <= set(names), names

    @check
    def inspect_active_queues():
        queue = next(q for q in ask("active_queues") if q["name"] == app.conf.task_default_queue)
        same((queue["routing_key"], queue["durable"]), (app.conf.task_default_queue, True))
        assert queue["exchange"]["type"] == "direct", queue

    @check
    def inspect_conf_and_clock():
        assert isinstance(ask("conf"), dict)
        first, second = (ask("clock")["clock"] for _ in range(2))
        assert second > first, (first, second)

    @check
    def revoke_before_it_runs():
        result = tasks.add.apply_async((1, 1), countdown=3)
        result.revoke()
        until("the id to be listed", lambda: result.id in ask("revoked"))
        with raising(TaskRevokedError) as caught:
            result.get(timeout=WAIT)
        same((str(caught.error), result.state), ("revoked", "REVOKED"))

    @check
    def revoke_many():
        ids = [str(uuid.uuid4()) for _ in range(2)]
        app.control.revoke(ids)
        until("the ids to be listed", lambda: set(ids) <= set(ask("revoked")))

    @check
    def terminate_a_running_task():
        with sleeper() as result:
            result.revoke(terminate=True)
            with raising(TaskRevokedError) as caught:
                result.get(timeout=WAIT)
            same((str(caught.error), result.state), ("terminated", "REVOKED"))

    @check
    def rate_limit():
        same(tell("rate_limit", task_name="fleet.noop", rate_limit="100/s"),
             {"ok": "new rate limit set successfully"})
        assert "error" in tell("rate_limit", task_name="no.such", rate_limit="1/s")
        assert "error" in tell("rate_limit", task_name="fleet.noop", rate_limit="many")
        tasks.noop.delay().get(timeout=WAIT)
        tell("rate_limit", task_name="fleet.noop", rate_limit="0")

    @check
    def rate_limit_slows_down():
        tell("rate_limit", task_name="fleet.return_kwargs", rate_limit="2/s")
        begun = time.monotonic()
        for result in [tasks.return_kwargs.delay() for _ in range(5)]:
            result.get(timeout=WAIT)
        took = time.monotonic() - begun
        tell("rate_limit", task_name="fleet.return_kwargs", rate_limit="0")
        assert took > 1.0, f"5 tasks at 2/s took {took} s"

    @check
    def time_limit():
        same(tell("time_limit", task_name="fleet.sleep", soft=100, hard=200),
             {"ok": "time limits set successfully"})

    @check
    def pool_grow_and_shrink():
        def size():
            # Celery's prefork pool counts processes and leaves max-concurrency as it was.
            pool = ask("stats")["pool"]
            return max(pool["max-concurrency"], len(pool.get("processes", [])))

        before = size()
        same(tell("pool_grow", n=2), {"ok": "pool will grow"})
        until("growth", lambda: size() == before + 2)
        same(tell("pool_shrink", n=2), {"ok": "pool will shrink"})
        until("shrinking", lambda: size() == before)

    @check
    def add_and_cancel_consumer():
        queue = f"other-{uuid.uuid4()}"
        same(tell("add_consumer", queue=queue), {"ok": f"add consumer {queue}"})
        same(tasks.add.apply_async((4, 4), queue=queue).get(timeout=WAIT), 8)
        assert any(q["name"] == queue for q in ask("active_queues"))
        same(tell("cancel_consumer", queue=queue), {"ok": f"no longer consuming from {queue}"})
        until("the end", lambda: all(q["name"] != queue for q in ask("active_queues")))

    @check
    def enable_and_disable_events():
        tell("enable_events")
        same(tell("enable_events"), {"ok": "task events already enabled"})
        assert "disabled" in tell("disable_events")["ok"]
        # Celery 5.6 started with `-E` says that they are still enabled.
        assert "enabled" in tell("enable_events")["ok"]

    @check
    def unknown_command_is_an_error():
        assert "error" in tell("no_such_command")

    @check
    def status_tool():
        out = celery("status", "-t", "3")
        assert f"{NODE}: OK" in out and "1 node online." in out, out

    @check
    def inspect_tool():
        assert "pong" in celery("inspect", "ping", "-d", NODE, "-t", "3")
        assert "revoked" in celery("control", "revoke", str(uuid.uuid4()), "-t", "3")

    @check
    def events_tool():
        command = [sys.executable, "-m", "celery", "-A", "fleet_app", "events", "--dump"]
        dump = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
        lines = []

        def read():
            for line in dump.stdout:
                lines.append(line)

        threading.Thread(target=read, daemon=True).start()
        try:
            until("a heartbeat", lambda: any("heartbeat" in line for line in lines))

            def all_kinds():
                tasks.add.delay(1, 1)
                tasks.fail.delay("for the dump")
                time.sleep(0.5)
                text = "".join(lines).lower()
                kinds = ["received", "started", "succeeded", "failed"]
                return all(f"task {kind}" in text or f"task-{kind}" in text for kind in kinds)

            until(f"task events in {lines}", all_kinds)
        finally:
            dump.terminate()
            dump.wait()

    return found

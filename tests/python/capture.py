"""Captures what Celery really puts on the wire, as golden vectors for unit tests in Rust.

    capture.py messages|results|events|control --out FOLDER   (FLEET_BROKER, FLEET_RESULTS set)

`cargo xtask capture` runs it with each Python environment and each broker, by capture_all.py. Ids
are fixed and the host is called `capture`; times and pids are those of the run.
"""

import argparse
import base64
import datetime
import decimal
import json
import os
import socket
import sys
import time
import uuid
from pathlib import Path

socket.gethostname = lambda: "capture"
socket.getfqdn = lambda name="": "capture"

import celery  # noqa: E402
import kombu  # noqa: E402
import kombu.pidbox  # noqa: E402
from celery import chain, chord, group  # noqa: E402
from kombu.serialization import enable_insecure_serializers  # noqa: E402

import fleet_app  # noqa: E402
from capture_wire import open_wire  # noqa: E402
from fleet_app import app  # noqa: E402

LIMIT = 30.0
# Otherwise it differs with each command, and replies could not be bound to.
OID = kombu.pidbox.Mailbox.oid = "capture-oid"
SITE = os.path.dirname(os.path.dirname(celery.__file__))
ETA = datetime.datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.timezone.utc)


def task_id(number):
    """A fixed id."""
    return str(uuid.UUID(int=0xCE1E << 96 | number))


def until(what, look):
    """Polls for something that another process does."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise SystemExit(f"waited {LIMIT} s in vain for {what}")


def cases():
    """Name and sender of every message; each gets the options that fix id and queue."""
    s = fleet_app
    add = s.add
    nested = {"a": [1, 2.5, None, True, {"b": "c"}], "z": -(2**62)}
    typed = [
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc),
        datetime.date(2026, 1, 2),
        datetime.time(3, 4, 5),
        decimal.Decimal("1.50"),
        uuid.UUID(int=7),
        b"\x00\xff",
    ]
    one = {
        "args": lambda o: add.apply_async((2, 3), **o),
        "kwargs": lambda o: add.apply_async(kwargs={"x": 2, "y": 3}, **o),
        "no_args": lambda o: s.noop.apply_async(**o),
        "send_task": lambda o: app.send_task("other.name", (1,), **o),
        "unicode": lambda o: s.echo.apply_async(("grüße 世界 🚢 \x00\u2028",), **o),
        "nested": lambda o: s.echo.apply_async((nested,), **o),
        "types": lambda o: s.echo.apply_async((typed,), **o),
        "nan": lambda o: s.echo.apply_async(([float("nan"), float("inf"), -float("inf")],), **o),
        "big_integer": lambda o: s.echo.apply_async((2**70,), **o),
        "long_repr": lambda o: s.echo.apply_async(("x" * 2000,), **o),
        "eta": lambda o: add.apply_async((1, 1), eta=ETA, **o),
        "eta_naive": lambda o: add.apply_async((1, 1), eta=ETA.replace(tzinfo=None), **o),
        "countdown": lambda o: add.apply_async((1, 1), countdown=60, **o),
        "expires_seconds": lambda o: add.apply_async((1, 1), expires=120, **o),
        "expires_time": lambda o: add.apply_async((1, 1), expires=ETA, **o),
        "limits": lambda o: add.apply_async((1, 1), time_limit=30, soft_time_limit=20.5, **o),
        "retries": lambda o: add.apply_async((1, 1), retries=2, **o),
        "priority": lambda o: add.apply_async((1, 1), priority=5, **o),
        "ignore_result": lambda o: add.apply_async((1, 1), ignore_result=True, **o),
        "shadow": lambda o: add.apply_async((1, 1), shadow="other", **o),
        "headers": lambda o: add.apply_async((1, 1), headers={"tenant": "a", "n": 1}, **o),
        "reply_to": lambda o: add.apply_async((1, 1), reply_to="my-replies", **o),
        "link": lambda o: add.apply_async((1, 1), link=s.mul.s(10), **o),
        "links": lambda o: add.apply_async((1, 1), link=[s.mul.s(10), s.noop.si()], **o),
        "link_error": lambda o: s.fail.apply_async(("x",), link_error=s.echo.s(), **o),
        "msgpack": lambda o: s.echo.apply_async(({"b": b"\x00"},), serializer="msgpack", **o),
        "pickle": lambda o: add.apply_async((1, 2), serializer="pickle", **o),
        "zlib": lambda o: s.echo.apply_async(("z" * 500,), compression="zlib", **o),
        "bzip2": lambda o: s.echo.apply_async(("z" * 500,), compression="bzip2", **o),
        "lzma": lambda o: s.echo.apply_async(("z" * 500,), compression="lzma", **o),
        "stamped": lambda o: _stamped(add.s(1, 1), o),
    }
    many = {
        "group": lambda o: group(add.s(1, 1), add.s(2, 2)).apply_async(**o),
        "chain": lambda o: chain(add.s(1, 1), s.mul.s(2), s.echo.s()).apply_async(**o),
        "chain_immutable": lambda o: chain(add.s(1, 1), s.mul.si(2, 3)).apply_async(**o),
        "chain_of_groups": lambda o: chain(
            add.s(1, 1), group(s.mul.s(2), s.mul.s(3)), s.tsum.s()
        ).apply_async(**o),
        "chord": lambda o: chord([add.s(1, 1), add.s(2, 2)], s.tsum.s()).apply_async(**o),
        "chord_errback": lambda o: chord(
            [add.s(1, 1), s.fail.s("x")], s.tsum.s().on_error(s.echo.s())
        ).apply_async(**o),
        "chunks": lambda o: add.chunks([(1, 1), (2, 2), (3, 3)], 2).apply_async(**o),
        "map": lambda o: s.echo.map([1, 2]).apply_async(**o),
        "starmap": lambda o: add.starmap([(1, 1), (2, 2)]).apply_async(**o),
    }
    return one, many


def _stamped(signature, options):
    signature.stamp(customer="c1", append_stamps=False)
    return signature.apply_async(**options)


def messages(wire):
    """Every form of a task message, protocols 2 and 1."""
    enable_insecure_serializers(["pickle"])
    one, many = cases()
    found = []
    rpc = app.conf.result_backend.startswith("rpc")
    for protocol in (2, 1):
        app.conf.task_protocol = protocol
        # The producer reads the protocol once.
        app.amqp.__dict__.pop("create_task_message", None)
        for number, (name, send) in enumerate({**one, **many}.items()):
            if rpc and ("chord" in name or name == "chain_of_groups"):
                continue  # rpc has no chords.
            queue = f"capture-{protocol}-{name}"
            options = {"queue": queue}
            wire.declare(queue)
            wire.take(queue)
            if name in one and name != "stamped":
                options["task_id"] = task_id(number)
            try:
                send(options)
            except Exception as error:
                if protocol == 1:
                    print(f"protocol 1, {name}: {error!r}", file=sys.stderr)
                    continue
                raise
            for index, message in enumerate(wire.take(queue)):
                found.append({"name": name, "index": index, "protocol": protocol, **message})
    return found


def results():
    """What a worker stores, in Redis (key and text) or as rpc replies."""
    rows = []
    s = fleet_app
    ids = {
        "success": s.add.apply_async((2, 3), task_id=task_id(101)),
        "none": s.noop.apply_async(task_id=task_id(102)),
        "failure": s.fail.apply_async(("broken",), task_id=task_id(103)),
        "unknown_task": app.send_task("no.such.task", task_id=task_id(104)),
        "expired": s.noop.apply_async(expires=-1, task_id=task_id(105)),
        "retried": s.retry_once.apply_async(task_id=task_id(106)),
        "retry_exhausted": s.retry_always.apply_async(task_id=task_id(107)),
        "link": s.add.apply_async((1, 1), link=s.mul.s(10), task_id=task_id(108)),
        "types": s.echo.apply_async((decimal.Decimal("1.50"),), task_id=task_id(109)),
        "progress": s.progress.apply_async((3,), task_id=task_id(110)),
    }
    client = app.backend.client
    for name, result in ids.items():
        if name == "progress":
            until("PROGRESS", lambda r=result: r.state == "PROGRESS")
        else:
            until(f"{name}: {result.id}", lambda r=result: r.ready())
        key = app.backend.get_key_for_task(result.id)
        rows.append({"name": name, "key": key.decode(), "value": client.get(key).decode()})
    both = group(s.add.s(1, 1), s.add.s(2, 2)).apply_async()
    both.save()
    key = app.backend.get_key_for_group(both.id)
    rows.append({"name": "group", "key": key.decode(), "value": client.get(key).decode()})
    # A chord with one part missing shows the counters of its join.
    waiting = chord([s.add.s(1, 1), s.sleep.s(6)], s.tsum.s()).apply_async()
    gid = waiting.parent.id
    until("the first part", lambda: client.exists(f"celery-taskset-meta-{gid}.j"))
    for key in sorted(client.scan_iter(match=f"celery-taskset-meta-{gid}*")):
        rows.append({"name": "chord_counters", "key": key.decode(), **_value(client, key)})
    return rows


def _value(client, key):
    kind = client.type(key).decode()
    if kind == "zset":
        members = client.zrange(key, 0, -1, withscores=True)
        return {"kind": kind, "value": [[m.decode(), score] for m, score in members]}
    if kind == "set":
        return {"kind": kind, "value": sorted(m.decode() for m in client.smembers(key))}
    return {"kind": kind, "value": client.get(key).decode()}


def rpc_results(wire):
    """Result messages of the rpc backend."""
    s = fleet_app
    rows = []
    for number, (name, send) in enumerate(
        {
            "success": lambda o: s.add.apply_async((2, 3), **o),
            "failure": lambda o: s.fail.apply_async(("broken",), **o),
            "retried": lambda o: s.retry_once.apply_async(**o),
            "ignored": lambda o: s.add.apply_async((2, 3), ignore_result=True, **o),
        }.items()
    ):
        queue = f"capture-replies-{name}"
        wire.declare(queue)
        send({"task_id": task_id(200 + number), "reply_to": queue})
        if name == "ignored":
            continue
        wanted = 2 if name == "retried" else 1
        got = []
        until(name, lambda q=queue, g=got, w=wanted: g.extend(wire.take(q)) or len(g) >= w)
        rows += [{"name": name, "index": index, **message} for index, message in enumerate(got)]
    return rows


def events(wire):
    """Events of a worker with `-E` and of a client that sends `task-sent`."""
    s = fleet_app
    tap = wire.tap("celeryev", "topic", "#")
    app.conf.task_send_sent_event = True
    app.control.heartbeat()
    s.add.apply_async((2, 3), {}, task_id=task_id(301))
    s.fail.apply_async(("broken",), task_id=task_id(302))
    s.retry_once.apply_async(task_id=task_id(303))
    s.add.apply_async((1, 1), expires=-1, task_id=task_id(304))
    app.send_task("no.such.task", task_id=task_id(305))
    s.sleep.apply_async((30,), task_id=task_id(306))
    until("the sleeper", lambda: _active(task_id(306)))
    app.control.revoke(task_id(306), terminate=True)
    got = []

    def complete():
        got.extend(tap.take())
        text = "".join(body(message) for message in got)
        return text.count("task-revoked") >= 2 and "task-retried" in text and text.count(
            "task-succeeded") >= 2 and "worker-heartbeat" in text

    until("all events", complete)
    return got


def body(message):
    """The text of a captured message's body."""
    if "envelope" in message:
        message = {"body_base64": json.loads(message["envelope"])["body"]}
    return base64.b64decode(message["body_base64"]).decode()


def _active(wanted):
    workers = app.control.inspect(timeout=1).active() or {}
    return any(task["id"] == wanted for tasks in workers.values() for task in tasks)


def control(wire):
    """Requests and replies of remote control, by command."""
    s = fleet_app
    app.control.ping(timeout=2, limit=1)  # Declares the reply exchange.
    requests = wire.tap("celery.pidbox", "fanout", "")
    replies = wire.tap_replies(OID)
    s.sleep.apply_async((20,), {}, task_id=task_id(401))
    s.add.apply_async((1, 1), countdown=3600, task_id=task_id(402))
    until("the sleeper", lambda: _active(task_id(401)))
    requests.take()
    replies.take()
    rows = []
    inspect = app.control.inspect(timeout=2, limit=1)
    ask = app.control.broadcast

    def command(name, **arguments):
        return lambda: ask(name, arguments=arguments, reply=True, timeout=2, limit=1)

    calls = {
        name: getattr(inspect, name)
        for name in (
            "ping", "stats", "active", "reserved", "scheduled", "revoked", "registered",
            "active_queues", "conf", "clock",
        )
    }
    calls |= {
        "query_task": lambda: inspect.query_task(task_id(401), task_id(499)),
        "registered_info": lambda: inspect.registered("rate_limit", "max_retries"),
        "hello": lambda: inspect.hello("other@host", revoked=None),
        "rate_limit": command("rate_limit", task_name="fleet.add", rate_limit="10/m"),
        "rate_limit_unknown": command("rate_limit", task_name="no.such", rate_limit="10/m"),
        "time_limit": command("time_limit", task_name="fleet.add", soft=10, hard=20),
        "enable_events": command("enable_events"),
        "enable_events_again": command("enable_events"),
        "disable_events": command("disable_events"),
        "pool_grow": command("pool_grow", n=1),
        "pool_shrink": command("pool_shrink", n=1),
        "autoscale_off": command("autoscale", max=3, min=1),
        "add_consumer": command("add_consumer", queue="other"),
        "add_consumer_again": command("add_consumer", queue="other"),
        "cancel_consumer": command("cancel_consumer", queue="other"),
        "revoke": command("revoke", task_id=task_id(402)),
        "revoke_many": command("revoke", task_id=[task_id(403), task_id(404)]),
        "revoked_after": inspect.revoked,
        "revoke_terminate": command("revoke", task_id=task_id(401), terminate=True, signal="KILL"),
        "unknown": command("no_such_command"),
        "heartbeat": lambda: app.control.heartbeat(),
        "shutdown": lambda: app.control.shutdown(),
    }
    for name, call in calls.items():
        call()
        got = []
        until(f"request {name}", lambda g=got: g.extend(requests.take()) or g)
        rows.append({"name": name, "requests": got, "replies": replies.take()})
    return rows


def write(folder, name, rows):
    """One file; paths of this machine are cut down to `site-packages/`."""
    text = json.dumps(
        {"celery": celery.__version__, "kombu": kombu.__version__, "rows": rows},
        indent=1, ensure_ascii=False, sort_keys=False,
    )
    text = text.replace(SITE, "site-packages").replace(str(Path(__file__).parent), "app")
    path = Path(folder) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
    print(f"{path}: {len(rows)} rows")


def main():
    """Runs one kind of capture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["messages", "results", "events", "control"])
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    if app.conf.broker_url.startswith("amqp"):
        # Otherwise a queue may be read before the message is in it.
        app.conf.broker_transport_options = {"confirm_publish": True}
    wire = open_wire(app)
    if options.kind == "results":
        rows = rpc_results(wire) if app.conf.result_backend.startswith("rpc") else results()
    else:
        rows = {"messages": messages, "events": events, "control": control}[options.kind](wire)
    write(options.out, f"{wire.name}_{options.kind}", rows)


main()

"""Puts bad messages straight into the broker, mixed with good ones: `fuzz.py SEED COUNT [small]`.

`small`: without those of megabytes, which cost any worker what their bytes cost.

Prints `{"good": [ids], "bad": n, "odd": n}`. Good ones must complete. Bad ones must end in the
dead-letter queue. Odd ones are valid in part, or only broken in a way that a broker may heal: they
must be gone in the end, one way or the other.
"""

import base64
import datetime
import decimal
import json
import pickle
import random
import sys
import uuid
import zlib

from fleet_app import app

QUEUE = app.conf.task_default_queue
IS_REDIS = app.conf.broker_url.startswith("redis")
# How many of the later rounds have the messages that cost megabytes: a broker keeps them in memory.
HUGE_SHARE = 0.05
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def headers(task="fleet.add", **changes):
    """Headers of a good message."""
    own = str(uuid.uuid4())
    return {
        "lang": "py", "task": task, "id": own, "shadow": None, "eta": None, "expires": None,
        "group": None, "group_index": None, "retries": 0, "timelimit": [None, None],
        "root_id": own, "parent_id": None, "argsrepr": "(1, 2)", "kwargsrepr": "{}",
        "origin": "fuzz", "ignore_result": False, **changes,
    }


def message(body=None, head=None, content_type="application/json", encoding="utf-8"):
    """A message as the senders below take it."""
    head = headers() if head is None else head
    body = json.dumps([[1, 2], {}, EMBED]) if body is None else body
    body = body.encode() if isinstance(body, str) else body
    return {"headers": head, "type": content_type, "encoding": encoding, "body": body}


def text(args=(1, 2), kwargs=None, embed=None):
    """A JSON body."""
    return json.dumps([args, {} if kwargs is None else kwargs, EMBED if embed is None else embed])


def bad(rng):
    """Messages that nobody can run, each with the reason in its name."""
    deep = "[" * 20_000 + "]" * 20_000
    yield "deep JSON", message(f"[[{deep}], {{}}, {{}}]")
    yield "truncated JSON", message(text()[: rng.randrange(1, 20)])
    yield "no JSON", message(bytes(rng.randrange(128, 256) for _ in range(50)))
    yield "empty body", message(b"")
    for body in ("1", '"x"', "null", "[]", "[1]", "[[], {}]", "[[], {}, {}, {}]", '{"a": 1}'):
        yield f"body {body}", message(body)
    yield "args no list", message(text(args={"x": 1}))
    yield "kwargs no map", message(text(kwargs=[1]))
    yield "embed no map", message(text(embed=[1]))
    for name in ("callbacks", "errbacks", "chain", "chord"):
        yield f"{name} wrong", message(text(embed={**EMBED, name: [17]}))
    for name, value in {
        "task": "", "id": "", "retries": "many", "eta": "soon", "expires": "[]",
        "timelimit": "no", "group_index": "first", "root_id": [1], "ignore_result": "maybe",
    }.items():
        yield f"header {name}", message(head=headers(**{name: value}))
    yield "negative retries", message(head=headers(retries=-1))
    yield "long name", message(head=headers(task="x" * 5000))
    yield "unknown task", message(head=headers(task="no.such.task"))
    yield "pickle", message(pickle.dumps(([1], {}, {})), None, "application/x-python-serialize",
                            "binary")
    yield "yaml", message("- [1]", None, "application/x-yaml")
    yield "unknown type", message(content_type="application/x-unheard-of")
    yield "UTF-16", message(text().encode("utf-16"), encoding="utf-16")
    yield "broken msgpack", message(b"\xc1\xff", None, "application/x-msgpack", "binary")
    yield "unknown compression", message(head=headers(compression="application/x-brotli"))
    yield "no zlib", message(b"\x00\x01", headers(compression="application/x-gzip"))


def huge():
    """Bad messages that cost megabytes each: some of them are enough."""
    bomb = zlib.compress(b"[" + b" " * 100_000_000)
    yield "zip bomb", message(bomb, headers(compression="application/x-gzip"))
    yield "huge body", message(text(args=["x" * 6_000_000]))


def odd(rng):
    """Good messages with something changed at random."""
    yield "mutated body", message(mutated(rng, text().encode()))
    yield "no headers", message(head={})
    yield "nested header", message(head=headers(user={"a": [{"b": 1}] * 10}))
    head = headers()
    del head[rng.choice(list(head))]
    yield "a header missing", message(head=head)
    head[rng.choice(list(head))] = rng.choice([1, -1.5, True, [1], {"a": 1}, "x", None, 2**60])
    yield "a header of another type", message(head=head)
    if not IS_REDIS:
        now = datetime.datetime.now()
        yield "AMQP types", message(head=headers(a=decimal.Decimal("1.5"), b=now, c=b"\xff"))


def mutated(rng, data):
    """Some bytes changed."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def envelope(one):
    """kombu's envelope."""
    return json.dumps({
        "body": base64.b64encode(one["body"]).decode(), "content-encoding": one["encoding"],
        "content-type": one["type"], "headers": one["headers"],
        "properties": {
            "correlation_id": str(uuid.uuid4()), "delivery_mode": 2, "priority": 0,
            "body_encoding": "base64", "delivery_tag": str(uuid.uuid4()),
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
        },
    })


def raw(rng):
    """What is not even an envelope: (group, text)."""
    good = json.loads(envelope(message()))
    yield "bad", "this is no envelope"
    yield "bad", ""
    yield "bad", "[1, 2]"
    yield "bad", b"\x80\x81"
    for part in ("body", "properties", "headers"):
        yield "odd", json.dumps({name: v for name, v in good.items() if name != part})
        yield "odd", json.dumps({**good, part: rng.choice([1, [], None, "x"])})
    yield "odd", json.dumps({**good, "body": "no base64 !"})
    # The name under which the message is reserved is its own.
    for part in (b"\xff", b"!", b"|"):
        before = b'"delivery_tag": "'
        yield "odd", json.dumps(good).encode().replace(before, before + part)
    yield "odd", mutated(rng, json.dumps(good).encode())


class ToRedis:
    """LPUSH."""

    def __init__(self):
        import redis

        self.client = redis.Redis.from_url(app.conf.broker_url)

    def send(self, one):
        """A message or raw text."""
        self.client.lpush(QUEUE, envelope(one) if isinstance(one, dict) else one)

    def close(self):
        """Nothing is under way."""
        self.client.close()


class ToRabbit:
    """basic.publish."""

    def __init__(self):
        self.connection = app.connection_for_write()
        self.connection.connect()
        self.channel = self.connection.default_channel

    def send(self, one):
        """A message."""
        made = self.channel.prepare_message(
            one["body"], content_type=one["type"], content_encoding=one["encoding"],
            headers=one["headers"], properties={"delivery_mode": 2},
        )
        self.channel.basic_publish(made, exchange="", routing_key=QUEUE)

    def close(self):
        """Waits until the server has all: what a lost connection carried is lost with it."""
        self.channel.close()
        self.connection.close()


def main():
    """Sends the corpus over and over, in random order, until COUNT bad messages are sent."""
    rng, count = random.Random(int(sys.argv[1])), int(sys.argv[2])
    small = sys.argv[3:] == ["small"]
    wire = ToRedis() if IS_REDIS else ToRabbit()
    good, sent = [], {"bad": 0, "odd": 0}
    while sent["bad"] < count:
        batch = [("bad", one) for _, one in bad(rng)] + [("odd", one) for _, one in odd(rng)]
        batch += raw(rng) if IS_REDIS else []
        if not small and (sent["bad"] == 0 or rng.random() < HUGE_SHARE):
            batch += [("bad", one) for _, one in huge()]
        batch += [("good", message()) for _ in range(len(batch))]
        rng.shuffle(batch)
        for group, one in batch:
            wire.send(one)
            if group == "good":
                good.append(one["headers"]["id"])
            else:
                sent[group] += 1
    wire.close()
    print(json.dumps({"good": good, **sent}))


main()

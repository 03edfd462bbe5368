"""Reading a broker from the side: queues and exchanges as they are, with no Celery in between."""

import base64
import time


def open_wire(app):
    """The reader for the application's broker."""
    return Redis(app) if app.conf.broker_url.startswith("redis") else Rabbit(app)


def encoded(body):
    """Bytes or text as base64, since JSON has no bytes."""
    return base64.b64encode(body if isinstance(body, bytes) else body.encode()).decode()


class Rabbit:
    """RabbitMQ by py-amqp."""

    name = "rabbitmq"

    def __init__(self, app):
        self.connection = app.connection_for_write()
        self.connection.connect()
        self.channel = self.connection.default_channel

    def declare(self, queue):
        """A queue of our own."""
        self.channel.queue_declare(queue, durable=True, auto_delete=False)

    def take(self, queue):
        """Everything that is in a queue now, removed."""
        found = []
        while True:
            message = self.channel.basic_get(queue, no_ack=True)
            if message is None:
                return found
            body = message.body if isinstance(message.body, bytes) else message.body.encode()
            properties = dict(message.properties)
            info = message.delivery_info
            found.append(
                {
                    "exchange": info["exchange"],
                    "routing_key": info["routing_key"],
                    "headers": properties.pop("application_headers", {}),
                    "properties": properties,
                    "body_base64": encoded(body),
                }
            )

    def tap(self, exchange, kind, key):
        """A queue of our own, bound to an exchange that a worker has declared."""
        return Tap(self, exchange, key)

    def tap_replies(self, oid):
        """What is sent to a client of remote control."""
        return Tap(self, "reply.celery.pidbox", oid)


class Tap:
    """A bound queue."""

    def __init__(self, wire, exchange, key):
        self.wire = wire
        self.queue = f"capture.{exchange}"
        wire.channel.exchange_declare(exchange, "direct", passive=True)
        wire.channel.queue_declare(self.queue, exclusive=True)
        wire.channel.queue_bind(self.queue, exchange, key)

    def take(self):
        """What came since the last look."""
        time.sleep(0.3)
        return self.wire.take(self.queue)


class Redis:
    """Redis by redis-py; messages are kombu's envelopes."""

    name = "redis"

    def __init__(self, app):
        import redis

        self.url = app.conf.broker_url
        self.client = redis.Redis.from_url(self.url)

    def declare(self, queue):
        """Lists come and go by themselves."""

    def take(self, queue):
        """Everything in a queue's lists, oldest first."""
        found = []
        for step in ("", "\x06\x163", "\x06\x166", "\x06\x169"):
            while (text := self.client.rpop(queue + step)) is not None:
                found.append({"key": queue + step, **envelope(text)})
        return found

    def tap(self, exchange, kind, key):
        """The channels of a fanout exchange."""
        return Channels(self.client, f"/{self.url.rsplit('/', 1)[-1] or 0}.{exchange}*")

    def tap_replies(self, oid):
        """A second queue bound with the asking client's key."""
        member = f"{oid}\x06\x16\x06\x16capture-replies"
        self.client.sadd("_kombu.binding.reply.celery.pidbox", member)
        return List(self)


class List:
    """A queue that gets copies."""

    def __init__(self, wire):
        self.wire = wire

    def take(self):
        """What came since the last look."""
        time.sleep(0.3)
        return self.wire.take("capture-replies")


def envelope(text):
    """An envelope as it is: its body, headers and properties are inside."""
    return {"envelope": text.decode()}


class Channels:
    """Published messages."""

    def __init__(self, client, pattern):
        self.pubsub = client.pubsub(ignore_subscribe_messages=False)
        self.pubsub.psubscribe(pattern)
        self.pubsub.get_message(timeout=5)

    def take(self):
        """What came since the last look."""
        found = []
        while (message := self.pubsub.get_message(timeout=0.3)) is not None:
            found.append({"channel": message["channel"].decode(), **envelope(message["data"])})
        return found

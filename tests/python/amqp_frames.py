"""Reads the frames that an AMQP 0-9-1 client sends: methods and message properties.

Values of tables keep the letter of their type, as `["I", 5]`: RabbitMQ compares the types of
queue arguments.
"""

import struct

HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME, PROPERTIES_FRAME = 1, 2

# Name and arguments of each method that declares, binds, consumes or publishes.
METHODS = {
    (40, 10): (
        "exchange.declare",
        "H- s.exchange s.type *passive,durable,auto_delete,internal,nowait F.arguments",
    ),
    (40, 30): ("exchange.bind", "H- s.destination s.source s.routing_key *nowait F.arguments"),
    (50, 10): (
        "queue.declare",
        "H- s.queue *passive,durable,exclusive,auto_delete,nowait F.arguments",
    ),
    (50, 20): ("queue.bind", "H- s.queue s.exchange s.routing_key *nowait F.arguments"),
    (60, 10): ("basic.qos", "I.prefetch_size H.prefetch_count *global"),
    (60, 20): (
        "basic.consume",
        "H- s.queue s.consumer_tag *no_local,no_ack,exclusive,nowait F.arguments",
    ),
    (60, 40): ("basic.publish", "H- s.exchange s.routing_key *mandatory,immediate"),
    (85, 10): ("confirm.select", "*nowait"),
}
PROPERTIES = [
    "s.content_type",
    "s.content_encoding",
    "F.headers",
    "B.delivery_mode",
    "B.priority",
    "s.correlation_id",
    "s.reply_to",
    "s.expiration",
    "s.message_id",
    "Q.timestamp",
    "s.type",
    "s.user_id",
    "s.app_id",
    "s.cluster_id",
]
NUMBERS = {
    "b": "b",
    "B": "B",
    "s": "h",
    "u": "H",
    "I": "i",
    "i": "I",
    "l": "q",
    "L": "q",
    "T": "Q",
    "f": "f",
    "d": "d",
}


class Reader:
    """A position in a payload."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        """One big-endian number."""
        size = struct.calcsize(">" + form)
        (value,) = struct.unpack_from(">" + form, self.data, self.at)
        self.at += size
        return value

    def bytes(self, count):
        """So many bytes, as text where they are one."""
        value = self.data[self.at : self.at + count]
        self.at += count
        return value.decode("utf-8", "backslashreplace")

    def table(self):
        """Names with types and values."""
        end, found = self.number("I") + self.at, {}
        while self.at < end:
            name = self.bytes(self.number("B"))
            found[name] = self.value()
        return found

    def value(self):
        """`[type, value]`."""
        kind = chr(self.number("B"))
        if kind == "t":
            return [kind, bool(self.number("B"))]
        if kind in NUMBERS:
            return [kind, self.number(NUMBERS[kind])]
        if kind in "Sx":
            return [kind, self.bytes(self.number("I"))]
        if kind == "F":
            return [kind, self.table()]
        if kind == "A":
            end, items = self.number("I") + self.at, []
            while self.at < end:
                items.append(self.value())
            return [kind, items]
        if kind == "D":
            return [kind, [self.number("B"), self.number("i")]]
        if kind == "V":
            return [kind, None]
        raise ValueError(f"field of unknown type {kind!r}")

    def item(self, form):
        """One argument."""
        if form == "s":
            return self.bytes(self.number("B"))
        return self.table() if form == "F" else self.number(form)


def method(payload):
    """A method frame's name and arguments; none for those that do not matter here."""
    reader = Reader(payload)
    known = METHODS.get((reader.number("H"), reader.number("H")))
    if known is None:
        return None
    name, layout = known
    found = {"method": name}
    for part in layout.split():
        if part[0] == "*":
            bits = reader.number("B")
            for place, flag in enumerate(part[1:].split(",")):
                found[flag] = bool(bits >> place & 1)
        elif part[1] == "-":
            reader.item(part[0])
        else:
            found[part[2:]] = reader.item(part[0])
    return found


def properties(payload):
    """The properties that a message has."""
    reader = Reader(payload)
    reader.at = 12
    flags, found = reader.number("H"), {}
    for place, part in enumerate(PROPERTIES):
        if flags >> (15 - place) & 1:
            found[part[2:]] = reader.item(part[0])
    return found


class Frames:
    """The frames of one direction of a connection, fed as they come."""

    def __init__(self):
        self.buffer, self.begun, self.found, self.publishing = b"", False, [], {}

    def feed(self, data):
        """Takes bytes; complete frames are read."""
        self.buffer += data
        if not self.begun and len(self.buffer) >= len(HEADER):
            self.buffer, self.begun = self.buffer[len(HEADER) :], True
        while self.begun and len(self.buffer) >= 7:
            kind, channel, size = struct.unpack_from(">BHI", self.buffer)
            if len(self.buffer) < size + 8:
                return
            self.frame(kind, channel, self.buffer[7 : 7 + size])
            self.buffer = self.buffer[size + 8 :]

    def frame(self, kind, channel, payload):
        """One frame; the properties of a message are added to its publication."""
        if kind == METHOD_FRAME and (one := method(payload)):
            self.found.append(one)
            self.publishing[channel] = one
        elif kind == PROPERTIES_FRAME and channel in self.publishing:
            self.publishing.pop(channel)["properties"] = properties(payload)

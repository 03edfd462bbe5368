"""Framing: length-prefixed JSON to the worker, JSON lines between our own processes."""

from __future__ import annotations

import json
import os
import socket
import struct

FRAME_BYTES_MAX = 64 * 1024 * 1024
LINE_BYTES_MAX = 1024 * 1024


class ConnectionLost(Exception):
    """The other side went away."""


def send_frame(sock: socket.socket, value: dict) -> None:
    body = json.dumps(value).encode()
    sock.sendall(struct.pack(">I", len(body)) + body)


def receive_frame(sock: socket.socket) -> dict:
    (length,) = struct.unpack(">I", _exactly(sock, 4))
    if length > FRAME_BYTES_MAX:
        raise ConnectionLost(f"a frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}")
    return json.loads(_exactly(sock, length))


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = sock.recv(min(count - len(data), 1 << 20))
        if not part:
            raise ConnectionLost("the worker closed the connection")
        data += part
    return bytes(data)


def send_line(fd: int, value: dict) -> None:
    """Writes one JSON line to a blocking descriptor."""
    data = json.dumps(value).encode() + b"\n"
    while data:
        data = data[os.write(fd, data) :]


class LineReader:
    """Splits what arrives on a descriptor into JSON values."""

    def __init__(self, fd: int):
        self.fd = fd
        self._rest = b""

    def read(self) -> list[dict] | None:
        """Values that have arrived; None at the end. Call it when the descriptor is readable."""
        try:
            data = os.read(self.fd, 1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            return None
        return [value for line in lines if (value := _parse(line)) is not None]


def _parse(line: bytes) -> dict | None:
    try:
        value = json.loads(line)
    except ValueError:
        os.write(2, b"task host: ignored a line that is not JSON\n")
        return None
    return value if isinstance(value, dict) else None

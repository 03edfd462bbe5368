"""A proxy before RabbitMQ that writes down what its clients call: `amqp_proxy.py HOST:PORT OUT`.

Prints its own port, and ends when its standard input does; then OUT has the methods as JSON, as
each connection sent them one after the other, without what differs from run to run.
"""

import contextlib
import json
import re
import socket
import sys
import threading

from amqp_frames import Frames

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
PROCESS = re.compile(r"gen\d+@")


def even(method):
    """Random and local parts made the same; flags that are off and empty tables left out."""
    text = PROCESS.sub("gen0@", UUID.sub("UUID", json.dumps(method)))
    said = json.loads(text).items()
    return {
        name: value
        for name, value in said
        if value is not False and value != {} and name != "consumer_tag"
    }


def distinct(methods):
    """Each different call once, as it came first."""
    seen, kept = set(), []
    for method in map(even, methods):
        # Clocks and the like differ, but not what is said of the message.
        key = json.dumps(
            {**method, "properties": sorted(method.get("properties", {}))}, sort_keys=True
        )
        if key not in seen:
            seen.add(key)
            kept.append(method)
    return kept


class Proxy:
    """Passes bytes on both ways, and reads those of the clients."""

    def __init__(self, host, port):
        self.server = (host, port)
        self.connections = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """Until the listener is closed."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.server)
            frames = Frames()
            self.connections.append(frames)
            for args in ((client, server, frames.feed), (server, client, None)):
                threading.Thread(target=self.pump, args=args, daemon=True).start()

    def pump(self, source, target, look):
        """One direction."""
        try:
            while data := source.recv(65536):
                if look:
                    look(data)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def methods(self):
        """What all connections have called so far."""
        return distinct(one for frames in self.connections for one in frames.found)


def main():
    """Runs one."""
    host, _, port = sys.argv[1].partition(":")
    proxy = Proxy(host, int(port))
    print(proxy.port, flush=True)
    sys.stdin.read()
    with open(sys.argv[2], "w") as file:
        json.dump(proxy.methods(), file)


if __name__ == "__main__":
    main()

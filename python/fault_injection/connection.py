"""The machine protocol (QMP): JSON objects over a socket, answers in order, events between them."""

import collections
import json
import socket


class Disconnected(Exception):
    """The machine has closed the connection."""


class Refused(Exception):
    """A command failed. `error` is the machine's own error object."""

    def __init__(self, error):
        super().__init__(error.get("desc", "the command failed"))
        self.error = error


def address_of(place):
    """What a place means: "HOST:PORT" is a TCP address, everything else the path of a UNIX socket; both may begin as for `--qmp`."""
    place = place.split(",")[0]
    if place.startswith("unix:"):
        return place[len("unix:"):]
    if place.startswith("tcp:"):
        place = place[len("tcp:"):]
    host, separator, port = place.rpartition(":")
    if separator and host and port.isdigit():
        return host.strip("[]"), int(port)
    return place


class Connection:
    """A connection to a machine, with the negotiation behind it."""

    def __init__(self, place):
        address = address_of(place)
        if isinstance(address, tuple):
            self._socket = socket.create_connection(address)
        else:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.connect(address)
        self._lines = self._socket.makefile("r", encoding="utf-8", newline="\n")
        self.events = collections.deque()
        self.greeting = self._receive()
        self.command("qmp_capabilities")

    def close(self):
        """Ends it."""
        self._lines.close()
        self._socket.close()

    def _receive(self):
        line = self._lines.readline()
        if not line:
            raise Disconnected("the machine has closed the connection")
        return json.loads(line)

    def request(self, message):
        """Sends an object; returns the answer, which may be an error. Events that come before it are kept."""
        try:
            self._socket.sendall(json.dumps(message).encode())
            while True:
                received = self._receive()
                if "event" not in received:
                    return received
                self.events.append(received)
        except ConnectionError as error:
            raise Disconnected(str(error)) from error

    def command(self, name, **arguments):
        """Carries out a command; what it returns. Raises `Refused` when it fails."""
        message = {"execute": name}
        if arguments:
            message["arguments"] = arguments
        answer = self.request(message)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["return"]

    def event(self):
        """The next event; waits for it."""
        if self.events:
            return self.events.popleft()
        try:
            while True:
                received = self._receive()
                if "event" in received:
                    return received
        except ConnectionError as error:
            raise Disconnected(str(error)) from error

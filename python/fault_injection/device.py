"""Devices in Python: registers, behaviours that run in parallel, interrupts, access to guest memory, and faults declared beside them.

    class Lamp(Device):
        kind = "lamp"
        faults = {"dark": "the lamp does not shine"}

        def load(self, offset, size):
            return 0 if self.active("dark") else self.level

    serve(Lamp(), "/tmp/lamp")

`fits vm --device socket=/tmp/lamp,mmio=0xfd000000+0x1000` puts it into a machine. The protocol is that of docs/device-protocol.md.
"""

import json
import os
import socket
import sys

PROTOCOL = 1


class Device:
    """A device. Its state is in attributes whose names do not begin with an underscore: they are what a snapshot keeps."""

    #: What it is, for people.
    kind = "user-device"
    #: Faults that it can have: name and what it does.
    faults = {}

    def __init__(self):
        self.fault_values = {}
        self._machine = None

    # To be overridden

    def load(self, offset, size):
        """A read of size bytes at an offset of the device's memory."""
        return (1 << 8 * size) - 1

    def store(self, offset, size, value):
        """A write there."""

    def port_in(self, offset, size):
        """A read of a port."""
        return (1 << 8 * size) - 1

    def port_out(self, offset, size, value):
        """A write to a port."""

    def behaviours(self):
        """Functions that run in parallel: each is called when the machine starts, and again after as many nanoseconds as it has returned,
        until it returns None."""
        return []

    def reset(self):
        """The reset line; behaviours begin again afterwards."""

    def inject(self, fault, value):
        """A declared fault was given a value; 0 is off. Raise ValueError for one that it cannot have."""

    # What a device can do

    @property
    def now(self):
        """Virtual nanoseconds since power-on."""
        return self._machine.now

    def active(self, fault):
        """The value of a fault; 0 where it is off."""
        return self.fault_values.get(fault, 0)

    def irq_assert(self, level=True):
        """Drive the interrupt line."""
        self._machine.act({"do": "irq", "level": bool(level)})

    def waitfor(self, behaviour, duration):
        """Have a behaviour called in duration nanoseconds, instead of when it would have been."""
        self._machine.waitfor(behaviour, duration)

    def read_memory(self, address, length):
        """Guest memory; None where that is not all RAM."""
        answer = self._machine.ask({"do": "read", "address": address, "length": length})
        return bytes.fromhex(answer["bytes"]) if answer["ok"] and length else (b"" if answer["ok"] else None)

    def write_memory(self, address, data):
        """Write guest memory; False where that is not all RAM."""
        return self._machine.ask({"do": "write", "address": address, "bytes": bytes(data).hex()})["ok"]

    def reset_machine(self):
        """Pull the machine's reset line."""
        self._machine.act({"do": "reset"})

    # Snapshots

    def save(self):
        """The state, as anything that JSON has a form for."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def restore(self, state):
        """Take a state over."""
        vars(self).update(state)


class Channel(Device):
    """Several devices behind one range of addresses: an access goes to the device that has the address."""

    kind = "channel"

    def __init__(self):
        super().__init__()
        self._routes = []

    def add(self, start, size, device):
        """Add a device, which sees offsets from 0 on."""
        for begin, length, _ in self._routes:
            if begin < start + size and start < begin + length:
                raise ValueError("0x%x+0x%x overlaps 0x%x+0x%x" % (start, size, begin, length))
        self._routes.append((start, size, device))
        prefix = "%d-" % (len(self._routes) - 1)
        self.faults = {**self.faults, **{prefix + name: text for name, text in device.faults.items()}}

    def _route(self, offset, size):
        for begin, length, device in self._routes:
            if begin <= offset and offset + size <= begin + length:
                device._machine = self._machine
                return device, offset - begin
        return None, 0

    def load(self, offset, size):
        device, at = self._route(offset, size)
        return device.load(at, size) if device else super().load(offset, size)

    def store(self, offset, size, value):
        device, at = self._route(offset, size)
        if device:
            device.store(at, size, value)

    def port_in(self, offset, size):
        device, at = self._route(offset, size)
        return device.port_in(at, size) if device else super().port_in(offset, size)

    def port_out(self, offset, size, value):
        device, at = self._route(offset, size)
        if device:
            device.port_out(at, size, value)

    def behaviours(self):
        for _, _, device in self._routes:
            device._machine = self._machine
        return [behaviour for _, _, device in self._routes for behaviour in device.behaviours()]

    def reset(self):
        for _, _, device in self._routes:
            device._machine = self._machine
            device.reset()

    def inject(self, fault, value):
        number, _, name = fault.partition("-")
        device = self._routes[int(number)][2]
        device._machine = self._machine
        device.inject(name, value)
        device.fault_values[name] = value

    def save(self):
        return [device.save() for _, _, device in self._routes]

    def restore(self, state):
        for (_, _, device), kept in zip(self._routes, state):
            device.restore(kept)


class _Machine:
    """The machine at the other end."""

    def __init__(self, stream, device):
        self.now = 0
        self._stream = stream
        self._device = device
        self._behaviours = device.behaviours()

    def act(self, message):
        self._stream.write(json.dumps(message).encode() + b"\n")
        self._stream.flush()

    def ask(self, message):
        self.act(message)
        return json.loads(self._stream.readline())

    def waitfor(self, behaviour, duration):
        # Methods are made anew each time they are looked up: they are equal, not identical.
        number = behaviour if isinstance(behaviour, int) else self._behaviours.index(behaviour)
        self.act({"do": "waitfor", "behaviour": number, "ns": duration})

    def _wake(self, number):
        duration = self._behaviours[number]()
        if duration is not None:
            self.waitfor(number, duration)

    def _start(self):
        for number in range(len(self._behaviours)):
            self._wake(number)

    def handle(self, request):
        """What a request is answered with."""
        device, operation = self._device, request["op"]
        self.now = request.get("now", self.now)
        place = [request.get(name) for name in ("offset", "size")]
        ones = (1 << 64) - 1
        if operation == "hello":
            faults = [{"name": name, "text": text} for name, text in device.faults.items()]
            return {"protocol": PROTOCOL, "kind": device.kind, "faults": faults}
        if operation == "load":
            return {"value": device.load(*place) & ones}
        if operation == "in":
            return {"value": device.port_in(*place) & ones}
        if operation == "store":
            device.store(*place, request["value"])
        elif operation == "out":
            device.port_out(*place, request["value"])
        elif operation == "start":
            self._start()
        elif operation == "wake":
            self._wake(request["behaviour"])
        elif operation == "reset":
            device.reset()
            self._start()
        elif operation == "inject":
            try:
                device.inject(request["fault"], request["value"])
            except ValueError as error:
                return {"error": str(error)}
            device.fault_values[request["fault"]] = request["value"]
        elif operation == "save":
            return {"state": device.save()}
        elif operation == "restore":
            if request["state"] is not None:
                device.restore(request["state"])
        return {}


def serve_connection(device, connection):
    """Serve a machine over a connection, until it closes it."""
    with connection, connection.makefile("rwb") as stream:
        machine = _Machine(stream, device)
        device._machine = machine
        for line in stream:
            machine.act({"done": machine.handle(json.loads(line))})


def serve(device, path):
    """Listen at a path, which its owner alone can reach; serve one machine after the other."""
    # Until it listens it has another name: who sees the file can connect.
    early = os.path.join(os.path.dirname(path), ".%d" % os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(early)
        listener.listen(1)
        os.rename(early, path)
        print("listening at %s" % path, flush=True)
        while True:
            connection, _ = listener.accept()
            try:
                serve_connection(device, connection)
            except (ConnectionError, BrokenPipeError) as error:
                print("the machine is gone: %s" % error, file=sys.stderr)

"""Scenarios: functions that are called at virtual times and change the machine, which stands still meanwhile.

Names and meaning of `notify`, `run`, `cont`, `write`, `read`, `get_qom_property`, `set_qom_property`, `set_gpio` and `help` are those of the
fault-injection framework for QEMU that introduced them; `run_once`, `read_mem`, `write_mem`, `read_pmem` and `write_pmem` are those of its
second generation. Everything below "Injectors" is ours.
"""

import inspect

from .connection import Connection, Disconnected, Refused

#: Path of the first processor.
CPU = "/machine/unattached/device[0]"

#: Machine checks as hardware reports them: status, global status, bank. (Intel SDM volume 3, "Machine-Check Architecture".)
SCRUBBER = (0xBD000000000000C0, 0x5, 9)
DATA_LOAD = (0xBD80000000000134, 0x7, 1)
CORRECTED = (0x8C0000000000009F, 0x0, 9)
#: MCi_MISC: the address is physical, and exact to a page.
PAGE_ADDRESS = 0x8C


class FaultInjectionFramework:
    """A machine that a script injects faults into.

    `sock` is the path of its socket, or "HOST:PORT". With `debug` 1 every action is printed with its virtual time, with 2 every message too.
    """

    def __init__(self, sock, debug=0):
        self.debug = debug
        self.time_ns = 0
        self._callbacks = []
        self._connection = Connection(sock)
        version = self._connection.greeting["QMP"]["version"]
        numbers = version["qemu"]
        print("Connected to QEMU %d.%d.%d" % (numbers["major"], numbers["minor"], numbers["micro"]))

    # The protocol

    def _print(self, level, text):
        if self.debug >= level:
            print(text)

    def _action(self, text):
        self._print(1, "%dns: %s" % (self.time_ns, text))

    def send(self, qmpcmd):
        """Send a command as an object of the protocol; return the answer as it comes, also where it is an error."""
        self._print(2, qmpcmd)
        answer = self._connection.request(qmpcmd)
        self._print(2, answer)
        return answer

    def _command(self, name, **arguments):
        message = {"execute": name}
        if arguments:
            message["arguments"] = arguments
        answer = self.send(message)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["return"]

    def close(self):
        """Disconnect; the machine goes on as it is."""
        self._connection.close()

    # Time

    def cont(self):
        """Resume the simulation when the virtual machine is stopped."""
        self._command("cont")

    def stop(self):
        """Stop the virtual machine; its clock stands still."""
        self._command("stop")

    def notify(self, time_ns, cb):
        """Call cb in time_ns nanoseconds of virtual time. The machine is stopped while cb runs."""
        if cb not in self._callbacks:
            self._callbacks.append(cb)
        self._action("notify %s in %dns" % (getattr(cb, "__name__", cb), time_ns))
        self._command("trigger_event", event_id=self._callbacks.index(cb), time_ns=time_ns)

    def _call(self, data):
        self.time_ns = data["time_ns"]
        self._callbacks[data["event_id"]]()

    def run_once(self):
        """Run until a callback was called, and those of the same time; the machine is then stopped. Return True when it has ended."""
        try:
            self.cont()
            called = False
            while True:
                event = self._connection.event()
                self._print(2, event)
                if event["event"] == "SHUTDOWN":
                    return True
                if event["event"] == "FAULT_EVENT":
                    self._call(event["data"])
                    called = True
                elif event["event"] == "STOP" and called:
                    return False
        except Disconnected:
            return True

    def run(self):
        """Start the simulation when the notify are set; return when the machine has ended."""
        self._action("simulation is now running")
        while not self.run_once():
            pass
        self.close()

    # Memory

    @staticmethod
    def _processor(cpu):
        return {"qom": cpu} if isinstance(cpu, str) else {"cpu": cpu}

    def write(self, address, value, size, cpu=0, debug=False):
        """Write value, of size bytes, at a physical address, from cpu: a number or a path."""
        self._action("write: @0x%08x size %d value 0x%x from cpu %s" % (address, size, value, cpu))
        # The protocol's integers are signed.
        signed = value - (1 << 64) if value >= 1 << 63 else value
        self._command("write_mem", size=size, addr=address, val=signed, debug=debug, **self._processor(cpu))

    def read(self, address, size, cpu=0, debug=False):
        """Read size bytes at a physical address, from cpu: a number or a path. Return {"value": N}."""
        self._action("read: @0x%08x size %d from cpu %s" % (address, size, cpu))
        answer = self._command("read_mem", size=size, addr=address, debug=debug, **self._processor(cpu))
        value = answer["value"]
        return {"value": value + (1 << 64) if value < 0 else value}

    inject_write = write

    def _bytes(self, command, address, value, size, **place):
        self._command(command, addr=address, bytes=list(value.to_bytes(size, "little")), **place)

    def write_mem(self, address, value, size, cpu=0):
        """Write value, of size bytes, at a virtual address of what cpu executes."""
        self._action("write: @V0x%08x size %d value 0x%x from cpu %s" % (address, size, value, cpu))
        self._bytes("memwrite", address, value, size, cpu=cpu)

    def write_pmem(self, address, value, size):
        """Write value, of size bytes, at a physical address."""
        self._action("write: @P0x%08x size %d value 0x%x" % (address, size, value))
        self._bytes("pmemwrite", address, value, size)

    def read_mem(self, address, size, cpu=0):
        """Read size bytes at a virtual address of what cpu executes. Return the value."""
        self._action("read: @V0x%08x size %d from cpu %s" % (address, size, cpu))
        answer = self._command("memread", addr=address, size=size, cpu=cpu)
        return int.from_bytes(bytes(answer["bytes"]), "little")

    def read_pmem(self, address, size):
        """Read size bytes at a physical address. Return the value."""
        self._action("read: @P0x%08x size %d" % (address, size))
        answer = self._command("pmemread", addr=address, size=size)
        return int.from_bytes(bytes(answer["bytes"]), "little")

    # Objects

    def get_qom_property(self, path, property):
        """Return the property of the object at path."""
        self._action("get %s of %s" % (property, path))
        return self._command("qom-get", path=path, property=property)

    def set_qom_property(self, path, property, value):
        """Set the property of the object at path to value."""
        self._action("set %s of %s to %r" % (property, path, value))
        self._command("qom-set", path=path, property=property, value=value)

    def set_gpio(self, path, gpio, num, value):
        """Set line number num of the group gpio of the device at path; "" is the group without a name."""
        self._action("set line %s[%d] of %s to %d" % (gpio, num, path, value))
        arguments = {"device_name": path, "num": num, "val": int(value)}
        if gpio:
            arguments["gpio"] = gpio
        self._command("inject_gpio", **arguments)

    def list_objects(self, path="/machine"):
        """Return names and types of the properties, lines and children of the object at path."""
        return {entry["name"]: entry["type"] for entry in self._command("qom-list", path=path)}

    # Injectors

    def inject(self, fault):
        """A fault in the words of `fits vm --fault`, such as "net:eth0:1:rx-drop/permanent@0"; a moment that is over is now."""
        self._action("inject %s" % fault)
        self._command("inject-fault", fault=fault)

    def injected(self):
        """What faults have done so far: objects with fault, instruction, time_ns, place, before, after, result."""
        return self._command("query-faults")

    def flip_memory(self, address, mask, size=8):
        """Flip the bits of mask in size bytes at a physical address."""
        self.write(address, self.read(address, size)["value"] ^ mask, size)

    def flip_register(self, name, mask):
        """Flip the bits of mask in a register of the processor, such as "rax", "rflags", "cr3"."""
        self.flip_property(CPU, name, mask)

    def flip_property(self, path, property, mask):
        """Flip the bits of mask in a register of any device."""
        self.set_qom_property(path, property, self.get_qom_property(path, property) ^ mask)

    def machine_check(self, bank, status, mcg_status, address, misc, broadcast=False):
        """Report a hardware error to the guest, as the monitor command mce. Return what the monitor says, "" where it was taken."""
        words = ["mce"] + (["-b"] if broadcast else [])
        words += ["0", str(bank)] + ["0x%x" % word for word in (status, mcg_status, address, misc)]
        return self.monitor(" ".join(words))

    def scrubber_error(self, address):
        """The memory scrubber has found an uncorrectable error at a physical address (asynchronous, action optional)."""
        status, global_status, bank = SCRUBBER
        return self.machine_check(bank, status, global_status, address, PAGE_ADDRESS)

    def memory_error(self, address):
        """The instruction now has read an uncorrectable error at a physical address (action required)."""
        status, global_status, bank = DATA_LOAD
        return self.machine_check(bank, status, global_status, address, PAGE_ADDRESS)

    def corrected_error(self, address):
        """The memory controller has corrected an error at a physical address; the guest finds it when it polls."""
        status, global_status, bank = CORRECTED
        return self.machine_check(bank, status, global_status, address, PAGE_ADDRESS)

    def spurious_interrupt(self, line):
        """An edge on an interrupt line, 0 to 15, that no device has raised."""
        for level in (1, 0):
            self.set_gpio("/machine/pic", "", line, level)

    def stuck_interrupt(self, line, level=1):
        """An interrupt line, 0 to 15, is held until a device drives it again."""
        self.set_gpio("/machine/pic", "", line, level)

    def nmi(self):
        """A non-maskable interrupt."""
        self._command("inject-nmi")

    def reset(self):
        """Press the reset button."""
        self._command("system_reset")

    def power_button(self):
        """Press the power button; the guest may act on it."""
        self._command("system_powerdown")

    def power_cut(self):
        """End the machine at once."""
        self._command("quit")

    quit = power_cut

    def monitor(self, line):
        """Carry out a line of the human monitor. Return what it prints."""
        self._action("monitor: %s" % line)
        return self._command("human-monitor-command", **{"command-line": line})

    def save_state(self, tag):
        """Keep the state of the machine under a name, in its memory."""
        self._kept("savevm", tag)

    def load_state(self, tag):
        """Go back to a state that was kept."""
        self._kept("loadvm", tag)

    def _kept(self, command, tag):
        said = self.monitor("%s %s" % (command, tag))
        if said:
            raise Refused({"class": "GenericError", "desc": said.strip()})

    def help(self):
        """Print this."""
        print("Fault Injection Framework Commands")
        print("==================================\n")
        for name, function in inspect.getmembers(type(self), callable):
            if not name.startswith("_") and function.__doc__:
                parameters = list(inspect.signature(function).parameters.values())[1:]
                print("%s(%s)" % (name, ", ".join(map(str, parameters))))
                print(" * %s\n" % " ".join(function.__doc__.split()))

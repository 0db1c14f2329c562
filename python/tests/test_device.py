"""Devices in Python in a real machine: the examples, whose guest looks at them, and their faults."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

from fault_injection import FaultInjectionFramework
from fault_injection.device import Channel, Device
from machine import ROOT, Machine, program

MEMORY = 0xFD000000
EXAMPLES = ROOT / "python" / "examples"
MILLISECOND = 1000000
#: `mov ebx, 0xfd000000; mov dx, 0x300; mov al, 3; out dx, al; again: mov rax, [rbx]; mov [0x200000], rax; mov ecx, 10000; wait: dec ecx;
#: jnz wait; jmp again`: it looks at the device each 20 microseconds.
LOOK = bytes.fromhex("bb000000fd66ba0003b003ee488b034889042500002000b910270000ffc975fcebea")


class Process:
    """A device in a process of its own."""

    def __init__(self, script):
        self.folder = tempfile.TemporaryDirectory()
        self.socket = str(pathlib.Path(self.folder.name) / "device")
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / script), self.socket], env=environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("%s does not listen" % script)
            time.sleep(0.01)

    def close(self):
        """Ends it."""
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


@unittest.skipUnless(program(), "SKIPPED: fits is not built")
class Examples(unittest.TestCase):
    """Each test has a device and a machine of its own."""

    def start(self, script, place):
        """A device of that script and a machine with it."""
        self.device = Process(script)
        self.addCleanup(self.device.close)
        flag = "socket=%s,%s,name=mine,timeout=20000" % (self.device.socket, place)
        self.machine = Machine(LOOK, extra=("--device", flag))
        self.addCleanup(self.machine.__exit__)
        with contextlib.redirect_stdout(io.StringIO()):
            self.framework = FaultInjectionFramework(self.machine.socket)
        self.addCleanup(self.framework.close)

    def later(self, duration):
        """Lets virtual time pass."""
        self.framework.notify(duration, lambda: None)
        self.assertFalse(self.framework.run_once())

    def seen(self, size=4):
        """What the guest has read last."""
        return self.framework.read(0x200000, size)["value"]

    def test_the_guest_reads_a_sensor_and_its_faults(self):
        self.start("sensor.py", "mmio=0x%x+0x1000,irq=5" % MEMORY)
        framework, path = self.framework, "/machine/peripheral/mine"
        self.assertEqual(framework.list_objects("/machine/peripheral"), {"type": "string", "mine": "child<user-device>"})
        self.assertEqual(framework.get_qom_property(path, "description"), "sensor")
        self.later(5 * MILLISECOND)
        self.assertEqual(self.seen() // 100, 200)
        framework.set_qom_property(path, "faults.offset", 1000)
        self.later(MILLISECOND)
        self.assertEqual(self.seen() // 100, 210)
        framework.set_qom_property(path, "faults.offset", 0)
        framework.set_qom_property(path, "faults.stuck", 1)
        self.later(50000)
        before = self.seen()
        self.later(3 * MILLISECOND)
        self.assertEqual(self.seen(), before)

    def test_a_dma_engine_moves_guest_memory(self):
        self.start("dma.py", "mmio=0x%x+0x1000" % MEMORY)
        framework = self.framework

        def move():
            for register, value in ((0, 0x300000), (8, 0x300100), (16, 8), (24, 1)):
                framework.write(MEMORY + register, value, 8)
            self.later(1000)
            return framework.read(0x300100, 8)["value"], framework.read(MEMORY + 24, 8)["value"]

        framework.write(0x300000, 0x0123456789ABCDEF, 8)
        self.assertEqual(move(), (0x0123456789ABCDEF, 2))
        framework.set_qom_property("mine", "faults.flip", 1)
        self.assertEqual(move(), (0x0123456789ABCDEE, 2))
        with self.assertRaisesRegex(Exception, "a byte has 8 bits"):
            framework.set_qom_property("mine", "faults.flip", 9)

    def test_a_watchdog_ends_a_machine_that_does_not_feed_it(self):
        self.start("watchdog.py", "port=0x300+8")
        self.framework.notify(2 * MILLISECOND, lambda: None)
        self.framework.run()
        self.assertEqual(self.machine.wait(), (0, ""))

    def test_a_device_whose_process_is_killed_harms_only_itself(self):
        self.start("sensor.py", "mmio=0x%x+0x1000" % MEMORY)
        self.later(MILLISECOND)
        self.device.process.kill()
        self.device.process.wait()
        self.later(MILLISECOND)
        self.assertEqual(self.seen(8), 0xFFFFFFFFFFFFFFFF)
        self.assertIs(self.framework.get_qom_property("mine", "failed"), True)
        self.framework.quit()
        status, said = self.machine.wait()
        self.assertEqual(status, 0)
        self.assertIn("device mine has failed and reads all ones from now on", said)

    def test_a_snapshot_has_the_device_in_it(self):
        self.start("sensor.py", "mmio=0x%x+0x1000" % MEMORY)
        framework = self.framework
        self.later(3 * MILLISECOND)
        framework.save_state("here")
        self.later(5 * MILLISECOND)
        first = framework.read(MEMORY + 4, 4)
        framework.load_state("here")
        self.assertNotEqual(framework.read(MEMORY + 4, 4), first)
        self.later(5 * MILLISECOND)
        self.assertEqual(framework.read(MEMORY + 4, 4), first)


class Routing(unittest.TestCase):
    """The channel alone."""

    def test_accesses_go_to_the_device_that_has_the_address(self):
        class Constant(Device):
            faults = {"wrong": "another value"}

            def __init__(self, value):
                super().__init__()
                self.value = value

            def load(self, offset, size):
                return self.value + offset + self.active("wrong")

        channel = Channel()
        channel.add(0, 8, Constant(100))
        channel.add(16, 8, Constant(200))
        self.assertRaises(ValueError, channel.add, 23, 8, Constant(0))
        self.assertEqual([channel.load(at, 1) for at in (1, 17, 9)], [101, 201, 255])
        self.assertEqual(list(channel.faults), ["0-wrong", "1-wrong"])
        channel.inject("1-wrong", 5)
        self.assertEqual([channel.load(at, 1) for at in (0, 16)], [100, 205])


if __name__ == "__main__":
    unittest.main()

"""The scenario client against a real machine: the documented examples, adapted to Python 3, and every injector."""

import contextlib
import io
import os
import subprocess
import sys
import unittest

from fault_injection import FaultInjectionFramework, Refused
from machine import ROOT, Machine, program

CPU = "/machine/unattached/device[0]"
#: `cli; halt: hlt; jmp halt`: virtual time passes at once.
HALT = bytes.fromhex("faf4ebfd")


@unittest.skipUnless(program(), "SKIPPED: fits is not built")
class Scenario(unittest.TestCase):
    """Each test has a machine of its own, not started yet."""

    def setUp(self):
        self.machine = Machine()
        self.addCleanup(self.machine.__exit__)
        self.said = io.StringIO()
        with contextlib.redirect_stdout(self.said):
            self.framework = FaultInjectionFramework(self.machine.socket)
        self.addCleanup(self.framework.close)
        self.assertRegex(self.said.getvalue(), r"^Connected to QEMU \d+\.\d+\.\d+\n$")

    def run_to_end(self):
        """Runs the scenario, which ends the machine."""
        self.framework.run()
        self.assertEqual(self.machine.wait(), (0, ""))

    def test_write_and_read_in_a_callback(self):
        framework = self.framework
        said = []

        def write_mem_callback():
            framework.write(0x0, 0xDEADBEEF, 4, 0)
            val = framework.read(0x0, 4, 0)
            said.append("value read: 0x%X" % val["value"])
            framework.quit()

        framework.notify(1000000, write_mem_callback)
        self.run_to_end()
        self.assertEqual(said, ["value read: 0xDEADBEEF"])
        self.assertEqual(framework.time_ns, 1000000)

    def test_the_example_prints_what_is_documented(self):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
        example = str(ROOT / "python" / "examples" / "scenario.py")
        with Machine(HALT) as machine:
            done = subprocess.run(
                [sys.executable, example, machine.socket],
                env=environment, capture_output=True, text=True, timeout=120, check=True,
            )
            self.assertRegex(
                done.stdout,
                r"^Fault Injection Example\nConnected to QEMU .*\nwrite_mem_callback\(\)\nvalue read: 0xDEADBEEF\n$",
            )
            self.assertEqual(machine.wait(), (0, ""))

    def test_callbacks_come_again_and_in_order(self):
        framework = self.framework
        times = []

        def tick():
            times.append(framework.time_ns)
            if len(times) == 5:
                framework.quit()
            else:
                framework.notify(1000, tick)

        def other():
            times.append(-framework.time_ns)

        framework.notify(2000, tick)
        framework.notify(3000, other)
        self.run_to_end()
        self.assertEqual(times, [2000, -3000, 3000, 4000, 5000])

    def test_the_guest_counts_between_two_moments_exactly(self):
        framework = self.framework
        counts = []

        def look():
            counts.append(framework.read(0x200000, 8, CPU)["value"])
            if len(counts) == 2:
                framework.quit()
            else:
                framework.notify(1000000, look)

        framework.notify(1000, look)
        self.run_to_end()
        self.assertEqual(counts[1] - counts[0], 500000)

    def test_run_once(self):
        framework = self.framework
        called = []
        framework.notify(1000, lambda: called.append(framework.time_ns))
        self.assertFalse(framework.run_once())
        self.assertEqual(called, [1000])
        framework.quit()

    def test_properties_and_lines(self):
        framework = self.framework
        self.assertIs(framework.get_qom_property("/machine", "usb"), False)
        framework.set_qom_property("/machine", "graphics", False)
        before = framework.get_qom_property("/machine/pic", "[0].requests")
        framework.set_gpio("/machine/pic", "", 5, 1)
        self.assertEqual(framework.get_qom_property("/machine/pic", "[0].requests") ^ before, 1 << 5)
        objects = framework.list_objects("/machine")
        self.assertEqual(objects["pit"], "child<isa-pit>")
        with self.assertRaisesRegex(Refused, "GPIO 'vinithi' doesn't exists"):
            framework.set_gpio("cpu0", "vinithi", 0, 1)

    def test_second_generation(self):
        framework = self.framework
        framework.write_pmem(0x300000, 0x0123456789ABCDEF, 8)
        self.assertEqual(framework.read_pmem(0x300001, 2), 0xABCD)
        framework.write_mem(0x300000, 0x7, 1, 0)
        self.assertEqual(framework.read_mem(0x300000, 8, 0), 0x0123456789ABCD07)
        self.assertEqual(framework.read(0x300000, 8)["value"], 0x0123456789ABCD07)
        framework.write(0x300000, 0xFFFFFFFFFFFFFFFF, 8)
        self.assertEqual(framework.read(0x300000, 8, CPU)["value"], 0xFFFFFFFFFFFFFFFF)

    def test_flips(self):
        framework = self.framework
        framework.write(0x300000, 0b1010, 4)
        framework.flip_memory(0x300000, 0b0110, 4)
        self.assertEqual(framework.read(0x300000, 4)["value"], 0b1100)
        before = framework.get_qom_property(CPU, "r13")
        framework.flip_register("r13", 1 << 63)
        self.assertEqual(framework.get_qom_property(CPU, "r13"), before ^ 1 << 63)
        reload = framework.get_qom_property("/machine/pit", "channels[0].reload")
        framework.flip_property("/machine/pit", "channels[0].reload", 4)
        self.assertEqual(framework.get_qom_property("/machine/pit", "channels[0].reload"), reload ^ 4)

    def test_faults_in_words(self):
        framework = self.framework
        framework.write(0x300000, 8, 4)
        framework.inject("mem:phys=0x300000:0@time=0.000002")
        with self.assertRaisesRegex(Refused, "unknown register 'rox'"):
            framework.inject("reg:rox:1@5")
        seen = []

        def look():
            seen.append(framework.read(0x300000, 4)["value"])
            if len(seen) == 2:
                framework.quit()

        framework.notify(1000, look)
        framework.notify(3000, look)
        self.run_to_end()
        self.assertEqual(seen, [8, 9])

    def test_a_flipped_instruction_pointer_ends_the_guest(self):
        def fault():
            self.framework.flip_register("rip", 1 << 40)

        self.framework.notify(1000, fault)
        self.framework.run()
        status, said = self.machine.wait()
        self.assertEqual(status, 120)
        self.assertIn("triple fault", said)

    def test_machine_checks_need_a_guest_that_wants_them(self):
        self.assertIn("disabled", self.framework.scrubber_error(0x300000))
        self.assertIn("disabled", self.framework.memory_error(0x300000))
        self.assertEqual(self.framework.corrected_error(0x300000), "")

    def test_states(self):
        framework = self.framework
        framework.write(0x300000, 1, 4)
        framework.save_state("before")
        framework.write(0x300000, 2, 4)
        framework.load_state("before")
        self.assertEqual(framework.read(0x300000, 4)["value"], 1)
        with self.assertRaisesRegex(Refused, "does not exist"):
            framework.load_state("never")

    def test_reset_begins_again(self):
        framework = self.framework
        seen = []

        def first():
            framework.write(0x300000, 7, 4)
            framework.reset()

        def second():
            # The kernel has begun again: its counter went on in memory, its registers did not.
            seen.append(framework.get_qom_property(CPU, "rip"))
            framework.quit()

        framework.notify(1000, first)
        framework.notify(2000, second)
        self.run_to_end()
        self.assertIn(seen[0], (0x1000000, 0x1000008))

    def test_help_and_debug_levels(self):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            self.framework.help()
            self.framework.debug = 1
            self.framework.read(0x0, 4, 0)
            self.framework.debug = 2
            self.framework.read(0x0, 4, 0)
        text = said.getvalue()
        for part in ("notify(time_ns, cb)", "set_gpio(path, gpio, num, value)", "0ns: read: @0x00000000 size 4 from cpu 0", "'execute': 'read_mem'"):
            self.assertIn(part, text)

    def test_send_gives_errors_back(self):
        answer = self.framework.send({"execute": "fly"})
        self.assertEqual(answer["error"]["class"], "CommandNotFound")


if __name__ == "__main__":
    unittest.main()

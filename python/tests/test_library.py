"""The client library and the shell of the machine protocol (`qemu.qmp` on PyPI), unchanged, against a machine of fits."""

import asyncio
import contextlib
import pathlib
import subprocess
import sys
import unittest

from qemu.qmp import ExecuteError, QMPClient

from machine import Machine

SHELL = str(pathlib.Path(sys.executable).parent / "qmp-shell")


async def end(client):
    """Ends a machine. The library reports that its connection ends with it."""
    await client.execute("quit")
    with contextlib.suppress(EOFError):
        await client.disconnect()


class Library(unittest.IsolatedAsyncioTestCase):
    """Connect, list, stop, continue, quit."""

    async def test_a_session(self):
        with Machine() as machine:
            client = QMPClient("test")
            await client.connect(machine.socket)
            names = {entry["name"] for entry in await client.execute("query-commands")}
            self.assertLessEqual({"stop", "cont", "quit", "qom-list", "trigger_event"}, names)
            self.assertEqual((await client.execute("query-status"))["status"], "prelaunch")
            with client.listener(("RESUME", "STOP", "FAULT_EVENT")) as listener:
                await client.execute("trigger_event", {"event_id": 0, "time_ns": 1000})
                await client.execute("cont")
                events = [await asyncio.wait_for(listener.get(), 30) for _ in range(3)]
            self.assertEqual([event["event"] for event in events], ["RESUME", "FAULT_EVENT", "STOP"])
            self.assertEqual(events[1]["data"]["time_ns"], 1000)
            await client.execute("cont")
            self.assertTrue((await client.execute("query-status"))["running"])
            await client.execute("stop")
            self.assertEqual((await client.execute("query-status"))["status"], "paused")
            with self.assertRaises(ExecuteError) as refused:
                await client.execute("fly")
            self.assertEqual(refused.exception.error_class, "CommandNotFound")
            await client.execute("snapshot-save", {"job-id": "j", "tag": "t", "vmstate": "memory", "devices": []})
            jobs = await client.execute("query-jobs")
            self.assertEqual(jobs[0]["status"], "concluded")
            self.assertNotIn("error", jobs[0])
            await end(client)
            self.assertEqual(machine.wait(), (0, ""))

    async def test_it_goes_on_when_a_client_has_vanished(self):
        with Machine() as machine:
            for _ in range(3):
                client = QMPClient("test")
                await client.connect(machine.socket)
                await client.execute("cont")
                await client.disconnect()
            client = QMPClient("test")
            await client.connect(machine.socket)
            self.assertTrue((await client.execute("query-status"))["running"])
            await end(client)
            self.assertEqual(machine.wait(), (0, ""))


class Shell(unittest.TestCase):
    """The shell, in both of its modes."""

    def shell(self, machine, lines, *flags):
        """What the shell prints for those lines."""
        done = subprocess.run(
            [SHELL, *flags, machine.socket], input=lines, capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr

    def test_json_mode(self):
        with Machine() as machine:
            said = self.shell(machine, "query-status\ncont\nstop\nqom-get path=/machine property=usb\nfly\nquit\n")
            for part in ("Welcome to the QMP low-level shell", '"status": "prelaunch"', '{"return": false}', "The command fly has not been found"):
                self.assertIn(part, said)
            self.assertEqual(machine.wait(), (0, ""))

    def test_human_mode(self):
        with Machine() as machine:
            said = self.shell(machine, "info status\nxp /2xw 0x1000000\nquit\n", "-H")
            for part in ("Welcome to the HMP shell", "VM status: prelaunch", "0x2504ff48 0x00200000"):
                self.assertIn(part, said)
            self.assertEqual(machine.wait(), (0, ""))


if __name__ == "__main__":
    unittest.main()

"""A machine for tests: `fits vm` with a guest of a few bytes, and its control socket."""

import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
#: Where the guest is loaded and begins, in 64-bit mode.
ENTRY = 0x1000000
#: `again: inc qword [0x200000]; jmp again`
COUNT = bytes.fromhex("48ff042500002000ebf6")


def program():
    """The fits to test; None where there is none."""
    given = os.environ.get("FITS")
    built = ROOT / "target" / "debug" / "fits"
    return given or (str(built) if built.exists() else None) or shutil.which("fits")


def kernel(code):
    """An ELF kernel with that code."""
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01", 2, 62, 1, ENTRY, 64, 0, 0, 64, 56, 1, 0, 0, 0,
    )
    segment = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, ENTRY, ENTRY, len(code), len(code), 0x1000)
    return (header + segment).ljust(0x1000, b"\0") + code


class Machine:
    """A machine that runs until the test ends."""

    def __init__(self, code=COUNT, flags=("-S",), extra=()):
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name)
        (path / "kernel").write_bytes(kernel(code))
        self.socket = str(path / "socket")
        (path / "initrd").write_bytes(b"none")
        command = [program(), "vm", "--kernel", str(path / "kernel"), "--initrd", str(path / "initrd"), "--memory", "64M"]
        command += [*flags, "--qmp", "unix:%s,server" % self.socket, *extra]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("fits does not listen: %s" % self.process.communicate()[1].decode())
            time.sleep(0.01)

    def wait(self):
        """Its exit status and what it said on standard error."""
        _, error = self.process.communicate(timeout=60)
        return self.process.returncode, error.decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

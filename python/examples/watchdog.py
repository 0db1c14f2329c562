#!/usr/bin/env python3
"""A watchdog at two ports. Port 0: a write of N lets it bark in N milliseconds, 0 switches it off. Port 1 reads how often it was fed. When it
barks, it pulls the machine's reset line. Usage: watchdog.py SOCKET
"""

import sys

from fault_injection.device import Device, serve

MILLISECOND = 1_000_000


class Watchdog(Device):
    kind = "watchdog"
    faults = {
        "asleep": "it never barks",
        "nervous": "it barks after half of the time",
    }

    def __init__(self):
        super().__init__()
        self.fed = 0
        self.armed = False

    def bark(self):
        """The behaviour."""
        if self.armed and not self.active("asleep"):
            self.reset_machine()

    def behaviours(self):
        return [self.bark]

    def port_in(self, offset, size):
        return self.fed & 0xFF if offset == 1 else 0

    def port_out(self, offset, size, value):
        if offset == 0:
            self.fed += 1
            self.armed = value != 0
            time = value * MILLISECOND // (2 if self.active("nervous") else 1)
            self.waitfor(self.bark, max(time, 1))

    def reset(self):
        self.armed = False


if __name__ == "__main__":
    serve(Watchdog(), sys.argv[1])

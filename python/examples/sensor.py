#!/usr/bin/env python3
"""A sensor that measures once in a millisecond. Registers of 4 bytes: 0 the value, 4 how often it has measured, 8 control (1: interrupt at each
measurement; any write ends the interrupt). Usage: sensor.py SOCKET
"""

import sys

from fault_injection.device import Device, serve

PERIOD = 1_000_000


class Sensor(Device):
    kind = "sensor"
    faults = {
        "stuck": "the value no longer changes",
        "offset": "this much is added to each value",
        "silent": "measurements raise no interrupt",
    }

    def __init__(self):
        super().__init__()
        self.value = 20_000
        self.measured = 0
        self.control = 0

    def measure(self):
        """The behaviour: a triangle between 20000 and 20100."""
        self.measured += 1
        if not self.active("stuck"):
            phase = self.measured % 200
            self.value = 20_000 + min(phase, 200 - phase)
        if self.control & 1 and not self.active("silent"):
            self.irq_assert()
        return PERIOD

    def behaviours(self):
        return [self.measure]

    def load(self, offset, size):
        return {0: self.value + self.active("offset"), 4: self.measured, 8: self.control}.get(offset, 0)

    def store(self, offset, size, value):
        if offset == 8:
            self.control = value
            self.irq_assert(False)


if __name__ == "__main__":
    serve(Sensor(), sys.argv[1])

#!/usr/bin/env python3
"""A DMA engine. Registers of 8 bytes: 0 source, 8 destination, 16 length, 24 a write starts it, a read gives 0 idle, 1 busy, 2 done, 3 failed.
It moves a byte in a nanosecond and raises its interrupt at the end. Usage: dma.py SOCKET
"""

import sys

from fault_injection.device import Device, serve

IDLE, BUSY, DONE, FAILED = range(4)


class Dma(Device):
    kind = "dma-engine"
    faults = {
        "flip": "this bit of the first byte is flipped, counted from 1",
        "short": "this many bytes are not moved",
        "lost": "it is never done",
    }

    def __init__(self):
        super().__init__()
        self.registers = [0, 0, 0]
        self.status = IDLE

    def move(self):
        """The behaviour; it waits until it is started."""
        if self.status != BUSY or self.active("lost"):
            return None
        source, destination, length = self.registers
        data = self.read_memory(source, min(length, 4096))
        if data is None:
            self.status = FAILED
        else:
            data = bytearray(data[: max(len(data) - self.active("short"), 0)])
            if self.active("flip") and data:
                data[0] ^= 1 << (self.active("flip") - 1)
            self.status = DONE if self.write_memory(destination, data) else FAILED
        self.irq_assert()
        return None

    def behaviours(self):
        return [self.move]

    def inject(self, fault, value):
        if fault == "flip" and value > 8:
            raise ValueError("a byte has 8 bits")

    def load(self, offset, size):
        return self.status if offset == 24 else self.registers[offset // 8] if offset < 24 else 0

    def store(self, offset, size, value):
        if offset == 24:
            self.irq_assert(False)
            self.status = BUSY
            self.waitfor(self.move, max(self.registers[2], 1))
        elif offset < 24:
            self.registers[offset // 8] = value

    def reset(self):
        self.__init__()


if __name__ == "__main__":
    serve(Dma(), sys.argv[1])

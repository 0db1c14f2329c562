#!/usr/bin/env python3
"""A scenario: after a second of virtual time a word of memory is overwritten and read back; then the machine ends. Usage: scenario.py SOCKET

The machine is started with: fits vm --kernel ... -S --qmp unix:SOCKET,server
"""

import sys

import fault_injection

framework = None


def write_mem_callback():
    """The fault."""
    print("write_mem_callback()")
    framework.write(0x0, 0xDEADBEEF, 4, 0)
    val = framework.read(0x0, 4, 0)
    print("value read: 0x%8.8X" % val["value"])
    framework.quit()


def main():
    """Connects, plans, runs."""
    global framework
    print("Fault Injection Example")
    framework = fault_injection.FaultInjectionFramework(sys.argv[1])
    framework.notify(1000000000, write_mem_callback)
    framework.run()


if __name__ == "__main__":
    main()

"""Fault injection into a virtual machine of fits, by script.

`framework` holds the scenarios, `connection` speaks the machine protocol, `device` is for devices written in Python.
"""

from .connection import Connection, Disconnected, Refused
from .framework import FaultInjectionFramework

__all__ = ["Connection", "Disconnected", "FaultInjectionFramework", "Refused"]

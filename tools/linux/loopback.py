"""Bring up the loopback interface; apart from the other calls because `socket` is slow to import.

Python 3.9 and the standard library alone.
"""

from __future__ import annotations

import fcntl
import socket
import struct

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1


def loopback_up() -> None:
    """Bring up `lo` in the process's network namespace (netdevice(7)); raise OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))

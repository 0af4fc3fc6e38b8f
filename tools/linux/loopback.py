"""The loopback interface; apart from the other calls because `socket` is slow to import.

Python 3.9 and the standard library alone. Sources: netdevice(7), rtnetlink(7).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct

_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_RTM_NEWROUTE, _REQUEST_ACK_CREATE = 24, 0x405
_TABLE_LOCAL, _PROTOCOL_BOOT, _SCOPE_HOST, _TYPE_LOCAL, _OUTPUT_INTERFACE = 255, 3, 254, 2, 4
_LO = 1  # The index of `lo` in every network namespace.


def loopback_up() -> None:
    """Bring up `lo` in the process's network namespace; raise OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def every_address_local() -> None:
    """Make every address one of this namespace's own: `ip route add local default dev lo`.

    A server that listens on a port of all addresses is then connected to whatever address a client
    names, which getsockname(2) tells it. Raise OSError; a kernel without IPv6 is none.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        route = struct.pack(
            "=8BI", family, 0, 0, 0, _TABLE_LOCAL, _PROTOCOL_BOOT, _SCOPE_HOST, _TYPE_LOCAL, 0
        ) + struct.pack("=HHI", 8, _OUTPUT_INTERFACE, _LO)
        header = struct.pack("=IHHII", 16 + len(route), _RTM_NEWROUTE, _REQUEST_ACK_CREATE, 1, 0)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as handle:
            handle.send(header + route)
            (number,) = struct.unpack_from("=i", handle.recv(4096), 16)
        if number and (family == socket.AF_INET or -number not in _NO_IPV6):
            raise OSError(-number, f"route every address to lo: {os.strerror(-number)}")


_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.ENODEV, errno.EINVAL, errno.EACCES)

"""Sockets of a container's own network, for the caller, whose process cannot enter that network.

A socket stays in the network that it was made in. The shim, which is inside, makes them and passes
them on; the caller (relay.py) connects them to sockets of its own. First come those on which
everything arrives that the container sends out (`web`): every address is local here, so connections
to any address are accepted on the spot. Then one new socket for each byte that the caller sends.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from pathlib import Path

from tools.linux.loopback import every_address_local, loopback_up

DNS_PORT = 53
BACKLOG = 128


def open_web(ports: tuple[int, ...]) -> list[socket.socket]:
    """Make every address local in the network that the process has entered.

    Return the sockets on which it is listened to: for names by UDP, then for connections to each of
    `ports`, beginning with those for names. Raise OSError.
    """
    loopback_up()
    every_address_local()
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", DNS_PORT))
    return [names, *(_listener(port) for port in (DNS_PORT, *ports))]


def _listener(port: int) -> socket.socket:
    dual = Path("/proc/net/if_inet6").exists()
    listener = socket.socket(socket.AF_INET6 if dual else socket.AF_INET, socket.SOCK_STREAM)
    if dual:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::" if dual else "", port))
    listener.listen(BACKLOG)
    return listener


def attend(gate: socket.socket, first: int) -> None:
    """Make a socket for every request, until the process `first` has ended."""
    handle = os.pidfd_open(first)
    waiting = [handle, gate.fileno()]
    while handle not in select.select(waiting, [], [])[0]:
        # The caller may be gone; then `first` ends soon.
        with contextlib.suppress(OSError):
            if not gate.recv(1):
                waiting = [handle]
                continue
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as made:
                socket.send_fds(gate, [b"+"], [made.fileno()])
    os.waitpid(first, 0)

"""How many connections this process holds, and for whom.

A connection beyond the limits is not refused: it may ask one question, and only questions about the
service's health are answered. So `/health` works while others hold every connection. This lane is
small, and a new connection displaces the oldest of the client that has most of them.
"""

import asyncio
import ipaddress
import resource
from collections import Counter
from collections.abc import Container
from typing import Protocol

STATE = "connections"  # key in the lifespan state
LANE = "lane"  # key in a request's state: why only the service's health may be asked for
# Descriptors that are not for connections: 48 of the database's with two files each, those of
# ffmpeg's pipes, of imports, of background work, and the lane.
RESERVED = 320
# A connection may read or write one file.
PER_CONNECTION = 2
LANE_SIZE = 64
FEWEST = 16
_IPV6_CLIENT = 64  # bits: what one site is given
SWEEP_S = 1.0


class Held(Protocol):
    """An open connection."""

    def stalls(self, now: float) -> bool:
        """Return whether its client has stopped reading."""

    def abort(self) -> None:
        """Close it without waiting for anything."""

    def busy(self) -> bool:
        """Return whether a request is being handled."""


def raise_descriptors() -> int:
    """Raise the soft limit on open files to the hard one; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def client_name(host: str | None) -> str:
    """Return what counts as one client: an IPv4 address, or 64 bits of an IPv6 address."""
    try:
        address = ipaddress.ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or "local"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, _IPV6_CLIENT), strict=False))
        address = address.ipv4_mapped
    return str(address)


class Connections:
    """The open connections of one process."""

    def __init__(
        self, *, total: int, per_client: int, write_timeout: float, descriptors: int
    ) -> None:
        """Allow `total` connections or as many as there are descriptors for, if these are fewer."""
        affordable = max(FEWEST, (descriptors - RESERVED) // PER_CONNECTION)
        self.total = min(total, affordable)
        self.per_client = per_client
        self.write_timeout = write_timeout
        self._held: dict[Held, str | None] = {}
        self._clients: Counter[str] = Counter()
        self._lane: dict[Held, str] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many connections there are outside the lane."""
        return len(self._held)

    def admit(
        self, connection: Held, *, host: str | None, proxies: Container[str | None]
    ) -> str | None:
        """Add a connection; return None, or why only the service's health may be asked for.

        A proxy's connections are those of many clients, whose requests are counted instead.
        """
        self._start_sweeping()
        name = client_name(host)
        counted = None if host is None or host in proxies else name
        if len(self._held) >= self.total:
            reason = f"All {self.total} connections are in use."
        elif counted is not None and self._clients[counted] >= self.per_client:
            reason = f"{counted} holds {self.per_client} connections already."
        else:
            self._held[connection] = counted
            if counted is not None:
                self._clients[counted] += 1
            return None
        self._lane[connection] = name
        if len(self._lane) > LANE_SIZE:
            self._displace()
        return reason

    def remove(self, connection: Held) -> None:
        """Remove a connection that is closed."""
        self._lane.pop(connection, None)
        counted = self._held.pop(connection, None)
        if counted is not None:
            self._clients[counted] -= 1
            if not self._clients[counted]:
                del self._clients[counted]

    def _displace(self) -> None:
        names = Counter(self._lane.values())
        # The newest goes only if all others are being answered.
        *waiting, newest = (each for each in self._lane if not each.busy())
        victim = max(waiting, key=lambda each: names[self._lane[each]], default=newest)
        del self._lane[victim]
        victim.abort()

    def _start_sweeping(self) -> None:
        if self._sweeper is None:
            interval = min(SWEEP_S, self.write_timeout / 4)
            self._sweeper = asyncio.get_running_loop().call_later(interval, self._sweep)

    def _sweep(self) -> None:
        # One look at each connection per second costs requests nothing.
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        for connection in [*self._held, *self._lane]:
            if connection.stalls(now):
                connection.abort()
        if self._held or self._lane:
            self._start_sweeping()

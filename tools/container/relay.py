"""Carry connections between the host's network and a container's, in a thread of the caller.

Into the container: what arrives at a listening socket of the caller's is connected to a port
inside (`publish`). Out of it: connections to public addresses, and questions for names, which the
resolver of the host answers (`let_out`). The container never holds a socket of the host's network,
so neither what listens on the host's loopback interface, nor its abstract sockets, nor its
neighbours can be reached.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import resource
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tools.container.gate import DNS_PORT

CHUNK = 1 << 18
BUFFER = 1 << 20  # Bytes, at most, that wait in one direction of one connection.
SPARE_DESCRIPTORS = 64
NAME_SECONDS, MAX_QUESTIONS = 10.0, 256
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
# RFC 6052 and 8215: IPv4 addresses for networks of IPv6 alone.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_RESET = struct.pack("ii", 1, 0)

Client = tuple[str, int]  # who asked, by address and port
Open = Callable[[socket.socket], socket.socket]  # an accepted connection → its other side


class Relay:
    """All connections of one container; `gate` is where sockets of its network come from."""

    def __init__(self, gate: socket.socket) -> None:
        self._gate = gate
        self._selector = selectors.DefaultSelector()
        self._pairs: set[_Pair] = set()
        self._listeners: dict[socket.socket, Open] = {}
        self._questions: dict[socket.socket, tuple[float, Client]] = {}
        self._stop_read, self._stop_write = socket.socketpair()
        self._selector.register(self._stop_read, READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = max(1, (soft - SPARE_DESCRIPTORS) // 2)

    def publish(self, listeners: Iterable[socket.socket], port: int) -> None:
        """Connect what arrives at `listeners`, which now belong to the relay, to a port inside."""
        for listener in listeners:
            self._listen(listener, lambda _: _connect(self._inside(), ("127.0.0.1", port)))

    def let_out(self, names: socket.socket, *listeners: socket.socket) -> None:
        """Carry what arrives at sockets of the container's network out to the host's."""
        self._names = names
        names.settimeout(0)
        self._selector.register(names, READ)
        for listener in listeners:
            self._listen(listener, _outside)

    def start(self) -> None:
        """Start, once everything is published; the thread ends with `stop` or the program."""
        self._thread.start()

    def stop(self) -> None:
        """End every connection."""
        self._stop_write.close()
        if self._thread.ident is not None:
            self._thread.join()
        for pair in list(self._pairs):
            self._end(pair, reset=True)
        names = [self._names] if hasattr(self, "_names") else []
        for handle in (*self._listeners, *self._questions, *names, self._stop_read, self._gate):
            handle.close()
        self._selector.close()

    def _inside(self) -> socket.socket:
        self._gate.send(b"?")
        handles = socket.recv_fds(self._gate, 1, 1)[1]
        if not handles:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the container has ended")
        return socket.socket(fileno=handles[0])

    def _listen(self, listener: socket.socket, other: Open) -> None:
        listener.settimeout(0)
        self._listeners[listener] = other
        self._selector.register(listener, READ)

    def _run(self) -> None:
        while True:
            for key, events in self._selector.select(NAME_SECONDS if self._questions else None):
                handle = key.fileobj
                if handle is self._stop_read:
                    return
                if isinstance(key.data, _Pair):
                    if key.data in self._pairs:
                        self._step(key.data, handle, events)
                elif handle in self._listeners:
                    self._accept(handle)
                elif isinstance(handle, socket.socket):
                    self._resolve(handle)
            self._forget()

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except OSError:
            return  # Gone again.
        try:
            other = self._listeners[listener](accepted)
        except OSError:
            _close(accepted, reset=True)
            return
        accepted.settimeout(0)
        pair = _Pair(accepted, other)
        self._pairs.add(pair)
        self._watch(pair)
        if len(self._pairs) == self._most:
            for each in self._listeners:
                self._selector.unregister(each)

    def _step(self, pair: _Pair, handle: object, events: int) -> None:
        try:
            if pair.step(handle, events):
                self._watch(pair)
            else:
                self._end(pair, reset=False)
        except OSError:
            self._end(pair, reset=True)

    def _watch(self, pair: _Pair) -> None:
        for end, events in zip(pair.ends, pair.wanted(), strict=True):
            known = end in self._selector.get_map()
            if events and known:
                self._selector.modify(end, events, pair)
            elif events:
                self._selector.register(end, events, pair)
            elif known:
                self._selector.unregister(end)

    def _end(self, pair: _Pair, *, reset: bool) -> None:
        for end in pair.ends:
            if end in self._selector.get_map():
                self._selector.unregister(end)
            _close(end, reset=reset)
        if len(self._pairs) == self._most:
            for listener in self._listeners:
                self._selector.register(listener, READ)
        self._pairs.discard(pair)

    def _resolve(self, handle: socket.socket) -> None:
        """Pass a question on, or an answer back."""
        with contextlib.suppress(OSError):
            data, client = handle.recvfrom(1 << 16)
            if handle is not self._names:
                self._names.sendto(data, self._questions[handle][1])
                self._drop(handle)
            elif len(self._questions) < MAX_QUESTIONS:
                resolver = nameserver()
                family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
                asking = socket.socket(family, socket.SOCK_DGRAM)
                self._questions[asking] = (time.monotonic() + NAME_SECONDS, client)
                self._selector.register(asking, READ)
                asking.connect((resolver, DNS_PORT))
                asking.send(data)

    def _forget(self) -> None:
        now = time.monotonic()
        for handle, (end, _) in list(self._questions.items()):
            if end < now:
                self._drop(handle)

    def _drop(self, handle: socket.socket) -> None:
        del self._questions[handle]
        self._selector.unregister(handle)
        handle.close()


class _Pair:
    """Two connected sockets; what one receives the other sends, in both directions."""

    def __init__(self, accepted: socket.socket, other: socket.socket) -> None:
        self.ends = (accepted, other)
        self._unsent = (bytearray(), bytearray())
        self._at_end = [False, False]
        self._shut = [False, False]
        self._connecting = True

    def wanted(self) -> tuple[int, int]:
        """Return the events for which to call `step`."""
        found = [0, 0]
        for index in range(2):
            if not self._at_end[index] and len(self._unsent[1 - index]) < BUFFER:
                found[index] |= READ
            if self._unsent[index]:
                found[index] |= WRITE
        return found[0], WRITE if self._connecting else found[1]

    def step(self, handle: object, events: int) -> bool:
        """Move bytes; return False once both directions have ended. Raise OSError."""
        index = self.ends.index(handle)
        if index and self._connecting:
            number = self.ends[1].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, "connect")
            self._connecting = False
        elif events & WRITE:
            sent = self.ends[index].send(self._unsent[index])
            del self._unsent[index][:sent]
        if events & READ:
            data = self.ends[index].recv(CHUNK)
            self._unsent[1 - index].extend(data)
            self._at_end[index] = not data
        for each in range(2):
            done = self._at_end[1 - each] and not self._unsent[each]
            if done and not self._shut[each] and not (each and self._connecting):
                self.ends[each].shutdown(socket.SHUT_WR)
                self._shut[each] = True
        return not all(self._shut)


def _close(handle: socket.socket, *, reset: bool) -> None:
    if reset:
        with contextlib.suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    handle.close()


def _connect(handle: socket.socket, where: tuple[str, int]) -> socket.socket:
    handle.settimeout(0)
    number = handle.connect_ex(where)
    if number not in (0, errno.EINPROGRESS):
        handle.close()
        raise OSError(number, "connect")
    return handle


def _outside(accepted: socket.socket) -> socket.socket:
    """Connect to where the container wanted to; raise OSError if it may not."""
    address, port = accepted.getsockname()[:2]
    if port == DNS_PORT:
        address = nameserver()
    elif not may_reach(address):
        raise PermissionError(errno.EACCES, f"{address} is not public")
    address = address.removeprefix("::ffff:")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return _connect(socket.socket(family, socket.SOCK_STREAM), (address, port))


def may_reach(address: str) -> bool:
    """Return whether an address is public: not the host's, its network's or reserved."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return may_reach(str(found.ipv4_mapped))
        if found in _NAT64:
            return may_reach(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        if found in _LOCAL_NAT64 or found.sixtofour is not None or found.teredo is not None:
            return False  # An IPv4 address, perhaps a private one, lies in these.
    return found.is_global and not found.is_multicast


def nameserver(path: Path = Path("/etc/resolv.conf")) -> str:
    """Return the host's first name server, as resolv.conf(5) says."""
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                return words[1]
    return "127.0.0.1"

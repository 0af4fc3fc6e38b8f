"""Threads that clients get in turn, so that one with many requests does not delay the others."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeVar, cast

import anyio.to_thread
from anyio import CapacityLimiter

from app.api import clients

T = TypeVar("T")
THREADS = 40  # for quick requests; each may hold a connection of the database


class Turns:
    """At most `total` at a time, and at most `each` of one client.

    Of those that wait, the client with the fewest running is next; of these, the one that waited
    longest. Used in place of anyio's CapacityLimiter, and therefore with the names of its methods.
    """

    def __init__(self, total: int, *, each: int) -> None:
        """Begin with nothing running."""
        self.total_tokens, self._each = total, each
        self._running: Counter[str] = Counter()
        self._holders: dict[object, str] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._count = 0

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread when it is this client's turn."""
        return await anyio.to_thread.run_sync(function, limiter=cast("CapacityLimiter", self))

    async def __aenter__(self) -> None:
        """Wait for a turn."""
        await self.acquire_on_behalf_of(asyncio.current_task())

    async def __aexit__(self, *_: object) -> None:
        """Let the next one have its turn."""
        self.release_on_behalf_of(asyncio.current_task())

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """Wait for a turn of the client whose request is being handled."""
        name = clients.current()
        if self._waiting or not self._free(name):
            await self._wait(name)
        else:
            self._take(name)
        self._holders[borrower] = name

    def release_on_behalf_of(self, borrower: object) -> None:
        """Let the next one have its turn."""
        self._release(self._holders.pop(borrower))

    def _free(self, name: str) -> bool:
        # What the service does by itself has no name.
        within = not name or self._running[name] < self._each
        return within and self._count < self.total_tokens

    async def _wait(self, name: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(turn)
        self._wake()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._release(name)
            else:
                self._forget(name, turn)
            raise

    def _take(self, name: str) -> None:
        self._running[name] += 1
        self._count += 1

    def _release(self, name: str) -> None:
        self._count -= 1
        self._running[name] -= 1
        if not self._running[name]:
            del self._running[name]
        self._wake()

    def _wake(self) -> None:
        while ready := [name for name in self._waiting if self._free(name)]:
            # `min` keeps the order in which they began to wait.
            name = min(ready, key=lambda each: self._running[each])
            turn = self._waiting[name].popleft()
            rest = self._waiting.pop(name)
            if rest:
                self._waiting[name] = rest  # last in line
            self._take(name)
            turn.set_result(None)

    def _forget(self, name: str, turn: asyncio.Future[None]) -> None:
        queue = self._waiting.get(name, deque())
        if turn in queue:
            queue.remove(turn)
        if not queue:
            self._waiting.pop(name, None)


def share_threads() -> None:
    """Let clients take turns in the threads of quick requests, too."""
    from anyio._backends import _asyncio  # no public way

    turns: Any = Turns(THREADS, each=THREADS * 3 // 4)
    _asyncio._default_thread_limiter.set(turns)  # noqa: SLF001 - same

"""Health checks with threads of their own and a deadline.

What a check waits for (a locked database, a disk, a broker) may never answer, and requests may have
taken every other thread. So each check has one thread, which later requests wait for, too.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.services.health import Check

DEADLINE_S = 0.5  # of a request for the service's health, which shall be answered within a second
# A check that was passed before may take this long: a busy disk is not a broken one.
PATIENCE_S = 5.0


@dataclass
class _State:
    """What is known about one check."""

    last: Check | None = None
    running: asyncio.Future[Check] | None = None
    began: float = 0.0


class Monitor:
    """Run checks on request, each at most once at a time."""

    def __init__(self, checks: Mapping[str, Callable[[], Check]]) -> None:
        """Store the checks, by name."""
        self._checks = checks
        self._states = {name: _State() for name in checks}

    async def check(self, *names: str) -> dict[str, Check]:
        """Return the results of these checks within DEADLINE_S."""
        for name in names:
            self._start(name)
        running = [state.running for name in names if (state := self._states[name]).running]
        await asyncio.wait(running, timeout=DEADLINE_S)
        return {name: self._result(self._states[name]) for name in names}

    def _start(self, name: str) -> None:
        state, loop = self._states[name], asyncio.get_running_loop()
        if state.running is not None and not state.running.done():
            return
        future: asyncio.Future[Check] = loop.create_future()
        state.running, state.began = future, loop.time()

        def end(result: Check) -> None:
            state.last = result
            if not future.done():
                future.set_result(result)

        def run() -> None:
            try:
                result = self._checks[name]()
            except Exception as error:  # noqa: BLE001 - the service is to answer nevertheless
                result = Check(ok=False, detail=f"the check failed ({type(error).__name__})")
            # After the loop has been closed, nobody waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(end, result)

        threading.Thread(target=run, name=f"check-{name}", daemon=True).start()

    @staticmethod
    def _result(state: _State) -> Check:
        if state.running is not None and state.running.done():
            return state.running.result()
        waited = asyncio.get_running_loop().time() - state.began
        if state.last is not None and state.last.ok and waited < PATIENCE_S:
            return state.last
        return Check(ok=False, detail=f"no answer for {max(waited, DEADLINE_S):.1f} s")

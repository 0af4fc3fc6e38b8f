"""Tells when the server has been asked to stop.

uvicorn first waits for open connections and only then runs the application's shutdown. A stream
that never ends would hold it up for ever, and a long analysis would be handed back late. So its
signal handlers are called after ours.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def told_at_once(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` (which must be quick and safe in a signal handler) when a stop is asked for.

    Outside the main thread, as in tests, no signal arrives, and nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        tell()
        previous = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)
        elif previous is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)

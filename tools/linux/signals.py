"""Signals as images and engines write them, by Docker's rules.

`SIGTERM`, `TERM`, `sigterm`, `15`, `SIGRTMIN+3`: an optional SIG, any case, or a number. Real-time
signals count from RTMIN (34, the first that the C library leaves to programs) up to RTMIN+15, or
from RTMAX (64) down to RTMAX-14.
"""

from __future__ import annotations

import re
import signal

from tools.cli import ToolError

LAST = 64
_NUMBER = re.compile("[+]?[0-9]{1,9}")
_REAL_TIME = re.compile("RT(?:MIN(?:[+]([1-9]|1[0-5]))?|MAX(?:-([1-9]|1[0-4]))?)")
_RTMIN = 34
_NAMED = {name[3:]: int(number) for name, number in signal.Signals.__members__.items()}
_NAMED["STKFLT"] = 16  # Python before 3.11 lacks it.


def parse_signal(text: str) -> int:
    """Return the number of a signal; raise ToolError for one that Docker does not know."""
    name = text.upper()
    name = name.removeprefix("SIG")
    if _NUMBER.fullmatch(text):
        number = int(text)
    elif real_time := _REAL_TIME.fullmatch(name):
        above, below = real_time.groups()
        number = LAST - int(below or 0) if name.startswith("RTMAX") else _RTMIN + int(above or 0)
    else:
        number = _NAMED.get(name, 0)
    if not 1 <= number <= LAST:
        raise ToolError(
            f"{text!r} is not a signal; write a name such as 'SIGTERM' or 'SIGRTMIN+3', or a "
            f"number from 1 to {LAST}"
        )
    return number

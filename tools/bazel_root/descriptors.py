"""Keep the caller's open files from Bazel: its server outlives the caller and would hold them.

A lock that a script holds by `flock` on such a file would never be released.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence

_STANDARD = frozenset([0, 1, 2])
# What a shell makes of `--bazelrc=<(command)`: the client is to read it.
_NAMED = re.compile(r"/(?:dev|proc/self)/fd/([0-9]+)")


def keep_standard_streams(argv: Sequence[str]) -> None:
    """Let the next exec pass on standard streams only, and descriptors that `argv` names."""
    kept = _STANDARD.union(int(number) for word in argv for number in _NAMED.findall(word))
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # the one that listed the directory
                os.set_inheritable(int(name), False)  # noqa: FBT003 - by position only

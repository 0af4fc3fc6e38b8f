"""The options of a test's container, whichever runner starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tools.container.plan import Bind
from tools.container.run import Completed


@dataclass(frozen=True)
class Options:
    """How a container differs from the image's configuration.

    user: as in `USER`; "" is the image's.
    binds: files and directories of the host.
    read_only: nothing is writable but `binds`, /tmp as in an engine, and `writable`.
    writable: directories that start empty and are writable, in memory.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    binds: tuple[Bind, ...] = ()
    privileged: bool = False
    tty: bool = False
    capabilities: tuple[str, ...] = ()
    read_only: bool = False
    writable: tuple[str, ...] = ()


class Session(Protocol):
    """Commands that see the files of earlier ones."""

    def run(self, argv: Sequence[str], *, timeout: float) -> Completed:
        """Run a command to its end; raise SpawnError when it cannot be started."""

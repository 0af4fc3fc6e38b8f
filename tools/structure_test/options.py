"""What a test wants of the container it runs in, whichever runner makes that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tools.container.plan import Bind
from tools.container.run import Completed


@dataclass(frozen=True)
class Options:
    """How a container differs from what the image's configuration says.

    user: as in `USER`; "" is the image's.
    binds: files and directories of the host.
    read_only: nothing can be written but `binds`, /tmp as an engine gives it, and `writable`.
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
    """Commands that see what those before them wrote."""

    def run(self, argv: Sequence[str], *, timeout: float) -> Completed:
        """Runs a command to its end. Raises SpawnError when it cannot be started."""

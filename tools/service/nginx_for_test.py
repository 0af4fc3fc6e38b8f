"""The remote cache of README.md: Debian's nginx on loopback, started and stopped by a test.

The program is the one that `NGINX_BINARY` names; the BUILD file takes it from the locked package.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.linux.namespaces import unshare_as

_README = Path(__file__).with_name("README.md")
_ENDPOINT = "127.0.0.1:8099"  # README.md's
# Of nginx's format "combined": the request, its status, the bytes of the body of the response.
_LINE = re.compile(r'"(GET|PUT) \S+ \S+" (\d+) (\d+) ')


@dataclass(frozen=True)
class RemoteCache:
    """A running cache: what `--remote_cache` takes, and what nginx logs."""

    url: str
    log: Path

    def requests(self) -> list[tuple[str, int, int]]:
        """Return method, status and bytes sent for each request so far, the first one first."""
        found = _LINE.findall(self.log.read_text(encoding="utf-8"))
        return [(method, int(status), int(size)) for method, status, size in found]


@contextmanager
def remote_cache(directory: Path, port: int) -> Iterator[RemoteCache]:
    """Run an empty cache in `directory`, with the settings that README.md shows but its port."""
    (settings,) = re.findall(r"```nginx\n(.*?)```", _README.read_text("utf-8"), flags=re.DOTALL)
    assert _ENDPOINT in settings
    endpoint = f"127.0.0.1:{port}"
    for name in ("cache/tmp", "logs"):
        (directory / name).mkdir(parents=True)
    file = directory / "nginx.conf"
    file.write_text(settings.replace(_ENDPOINT, endpoint))
    program = str(Path(os.environ["NGINX_BINARY"]).resolve())
    # Until it has read its settings, nginx logs to a directory of the machine's.
    command = [program, "-e", "logs/error.log", "-p", str(directory), "-c", str(file)]
    _run(command)  # it goes on in the background, listening
    try:
        yield RemoteCache(f"http://{endpoint}", directory / "logs/access.log")
    finally:
        _run([*command, "-s", "stop"])


def _run(command: list[str]) -> None:
    # Root's nginx would become another user, whom a test's sandbox may not have.
    subprocess.run(command, check=True, timeout=60, preexec_fn=lambda: unshare_as(1000, 1000))

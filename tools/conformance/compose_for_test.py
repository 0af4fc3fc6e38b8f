"""Run Podman's API in a root and a network of its own, for tests of several containers.

    python compose_for_test.py TREE STATE SHARED

As programs_for_test, but with bridges, names and published ports, in a network namespace where only
its own loopback and OUTER_HOST exist. SHARED has `podman.sock`, which docker-compose is given, and
`published.sock`, through which a test reaches port PUBLISHED of the namespace's loopback.

Podman believes to be root here, or bridges would need a helper. In its containers the one user who
is mapped is 1000: for an engine that is root Podman would take whole ranges, so a small program in
front of crun asks for this one.
"""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.conformance import programs_for_test
from tools.conformance.programs_for_test import Programs
from tools.linux import syscalls as linux
from tools.structure_test import podman_for_test

PUBLISHED = 8000
# Of the addresses for documentation: whatever is not a container, at port 80.
OUTER_HOST = "192.0.2.1"
_RUNTIME = """#!/usr/bin/python3
import json, os, sys
if "create" in sys.argv:
    path = os.path.join(sys.argv[sys.argv.index("--bundle") + 1], "config.json")
    with open(path) as stream:
        spec = json.load(stream)
    for namespace in spec["linux"]["namespaces"]:
        if namespace["type"] == "user":
            namespace.pop("path", None)
    for mount in spec["mounts"]:
        # The group of terminals, which is not mapped.
        mount["options"] = [each for each in mount.get("options", []) if each != "gid=5"]
    one = [{"containerID": 1000, "hostID": 0, "size": 1}]
    spec["linux"] |= {"uidMappings": one, "gidMappings": one}
    with open(path, "w") as stream:
        json.dump(spec, stream)
os.execv("/usr/bin/crun", sys.argv)
"""
# An ended `exec` would otherwise leave a process for five minutes.
_CONTAINERS_CONF = (
    podman_for_test.CONTAINERS_CONF.replace(
        "[containers]", '[containers]\nuserns = "ns:/proc/self/ns/user"'
    ).replace("[engine]", "[engine]\nexit_command_delay = 1")
    + '[engine.runtimes]\ncrun = ["/etc/containers/crun"]\n'
)
ETC = {
    **podman_for_test.ETC,
    "containers/containers.conf": _CONTAINERS_CONF,
    "containers/crun": _RUNTIME,
    "containers/storage.conf": programs_for_test.STORAGE_CONF,
}
# Without the marks that podman_for_test sets, root is root.
ENVIRONMENT = {
    "PATH": "/usr/bin:/usr/sbin",
    "HOME": "/var",
    "XDG_RUNTIME_DIR": "/run",
    "CONTAINERS_STORAGE_CONF": "/etc/containers/storage.conf",
    "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
}
# A path that may be longer than the 108 bytes of a socket's address is entered first.
SOCKET = "unix:///proc/self/cwd/podman.sock"
SECONDS = 120.0
COMPOSE_SECONDS = 300.0  # starting everything, on a machine that has other work


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket; the directory's descriptor makes its path short."""
        directory = os.open(self._path.parent, os.O_PATH)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(SECONDS)
            self.sock.connect(f"/proc/self/fd/{directory}/{self._path.name}")
        finally:
            os.close(directory)


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON."""
        return json.loads(self.body)


def request(
    path: Path,
    method: str,
    target: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request through a socket. Raise OSError or HTTPException if there is no answer."""
    connection = _UnixConnection(path)
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, response.read())
    finally:
        connection.close()


@dataclass
class Engine:
    """Podman's API, and what it does in a system that has timers: it checks health."""

    here: Programs
    log: Path
    _stop: threading.Event = field(default_factory=threading.Event)

    def podman(self, method: str, target: str) -> Reply:
        """Ask Podman's own API."""
        return request(self.here.work / "podman.sock", method, f"/v5.0.0/libpod{target}")

    def published(self, method: str, target: str, **more: Any) -> Reply:
        """Send a request to the published port."""
        return request(self.here.work / "published.sock", method, target, **more)

    def compose(self, *words: str) -> str:
        """Run docker-compose; return everything that it prints. It must succeed."""
        flags = ("--ansi=never", "--progress=plain")
        done = self.here.attempt("docker-compose", *flags, *words, seconds=COMPOSE_SECONDS)
        text = done.stdout + done.stderr
        self.note(f"$ docker compose {' '.join(words)}\n{text.rstrip()}")
        assert done.returncode == 0, f"{words}: {text}"
        return text

    def note(self, text: str) -> None:
        """Write to the log."""
        with self.log.open("a") as stream:
            stream.write(f"{text}\n")

    def containers(self) -> dict[str, dict[str, Any]]:
        """Return the containers of compose by service, as Podman inspects them."""
        found = self.podman("GET", "/containers/json?all=true").json() or []
        inspected = [self.podman("GET", f"/containers/{each['Id']}/json") for each in found]
        return {
            each["Config"]["Labels"]["com.docker.compose.service"]: each
            for each in (reply.json() for reply in inspected if reply.status == 200)
        }

    def check_health(self) -> None:
        """Run the healthchecks of containers that start until stopped, as timers of systemd do."""
        while not self._stop.wait(0.2):
            with suppress(OSError, http.client.HTTPException, ValueError):
                for each in self.podman("GET", "/containers/json").json() or []:
                    if "(healthy)" not in each["Status"]:
                        self.podman("GET", f"/containers/{each['Id']}/healthcheck")

    def kill(self, service: str) -> None:
        """Kill a service's first process, not by the engine, which would leave it dead."""
        process = self.containers()[service]["State"]["Pid"]
        self.note(f"$ kill -KILL {process}  # {service}")
        os.kill(process, signal.SIGKILL)


@contextmanager
def engine(folder: Path, *, log: Path, variables: Mapping[str, str]) -> Iterator[Engine]:
    """Start the API; `variables` are docker-compose's. `log` gets what every program prints."""
    here = programs_for_test.programs(folder, DOCKER_HOST=SOCKET, **variables)
    words = [sys.executable, __file__, str(here.tree), str(here.state), str(here.work)]
    service = None
    result = Engine(here, log)
    health = threading.Thread(target=result.check_health)
    with (here.work / "podman.log").open("wb") as output:
        service = subprocess.Popen(
            words, env=here.environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait(here.work / "podman.sock", service)
            health.start()
            yield result
        finally:
            result._stop.set()
            if health.is_alive():
                health.join()
            with suppress(OSError, http.client.HTTPException):
                for each in result.podman("GET", "/containers/json?all=true").json() or []:
                    result.podman("DELETE", f"/containers/{each['Id']}?force=true&timeout=0")
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()
            shutil.copyfile(here.work / "podman.log", log.with_name("podman.log"))


def _wait(path: Path, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert service.poll() is None, (path.parent / "podman.log").read_text()
        assert time.monotonic() < deadline, "Podman's API did not start"
        time.sleep(0.05)


def _set_up_loopback() -> None:
    """Give the namespace's loopback both addresses."""
    with socket.socket() as control:
        for name, address in (("lo", "127.0.0.1"), ("lo:1", OUTER_HOST)):
            packed = socket.inet_aton(address)
            request_ = struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, packed)
            fcntl.ioctl(control, 0x8916, request_)  # SIOCSIFADDR
        fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0x41))  # SIOCSIFFLAGS: up


async def _relay(work: Path) -> None:
    """Connect published.sock with the published port, and answer as OUTER_HOST."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", PUBLISHED)
            await asyncio.gather(copy(reader, back), copy(there, writer))
            back.close()
        writer.close()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"outside")
        writer.close()

    os.chdir(work)
    await asyncio.start_unix_server(connect, "published.sock")
    server = await asyncio.start_server(greet, OUTER_HOST, 80)
    await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Become Podman's API; see the module docstring."""
    tree, state, shared = map(Path, arguments)
    podman_for_test.enter(tree, state, shared, etc=ETC, flags=linux.CLONE_NEWNET)
    Path("/etc/containers/crun").chmod(0o755)
    _set_up_loopback()
    if os.fork() == 0:
        asyncio.run(_relay(shared))
    os.chdir(shared)
    words = ["podman", "system", "service", "--time=0", SOCKET]
    os.execvpe(words[0], words, ENVIRONMENT)


if __name__ == "__main__":
    main(sys.argv[1:])

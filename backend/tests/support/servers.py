"""Run real servers on loopback: PostgreSQL, Redis, uvicorn, a Celery worker."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
from tests.support import programs, unprivileged, web

T = TypeVar("T")
BACKEND = Path(unprivileged.__file__).absolute().parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
# Most waits end soon. In a long one, the requests of a poll take time from what is waited for.
SOON_S, POLL_S, LATER_POLL_S = 2.0, 0.05, 0.2


class ServerError(Exception):
    """A server failed to start or to stop."""


def eventually(poll: Callable[[], T | None], *, timeout: float = START_TIMEOUT_S) -> T:
    """Poll until the result is neither None nor False; raise AssertionError after `timeout`."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < timeout:
        result = poll()
        if result is not None and result is not False:
            return result
        time.sleep(POLL_S if waited < SOON_S else LATER_POLL_S)
    raise AssertionError(f"the condition was not met within {timeout:g} s; last result: {result!r}")


def free_port() -> int:
    """Return a currently unused port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Process:
    """A running program and its log file."""

    popen: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM

    def output(self) -> str:
        """Return everything printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def stop(self) -> int:
        """Stop the process and return its exit code. Raise ServerError if it does not stop."""
        if self.popen.poll() is None:
            self.popen.send_signal(self.stop_signal)
        try:
            return self.popen.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(
                f"did not stop on {self.stop_signal.name}:\n{self.output()}"
            ) from None


@contextmanager
def running(
    command: list[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[Process]:
    """Run a program in its own process group until the block ends."""
    with log.open("ab") as output:
        popen = subprocess.Popen(
            command,
            cwd=BACKEND,
            env=dict(os.environ if environment is None else environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process = Process(popen, log, stop_signal)
    try:
        yield process
    finally:
        if popen.poll() is None:
            process.stop()


def _check_alive(process: Process) -> None:
    if process.popen.poll() is not None:
        code = process.popen.returncode
        raise ServerError(f"exited with code {code}:\n{process.output()}")


@contextmanager
def short_directory() -> Iterator[Path]:
    """Create a directory with a path short enough for a socket, accessible to `nobody`."""
    path = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Postgres:
    """A PostgreSQL server that can be killed and restarted; its data is stored in `home`."""

    def __init__(self, home: Path, *, port: int | None = None) -> None:
        """Initialise a cluster in `home`; nothing runs before `running`."""
        self._programs = programs.postgres_bin_dir()
        self._launcher = [sys.executable, unprivileged.__file__]
        self._port = free_port() if port is None else port
        self._home = home
        self._base = f"postgresql://backend@127.0.0.1:{self._port}"
        setup = subprocess.run(
            [*self._launcher, str(self._programs / "initdb"), "--pgdata", str(home / "data"),
             "--username", "backend", "--auth", "trust", "--encoding", "UTF8",
             "--no-locale", "--no-sync"],
            capture_output=True, check=False, cwd=home,
        )  # fmt: skip
        if setup.returncode != 0:
            raise ServerError(f"initdb: {setup.stderr.decode()}{setup.stdout.decode()}")

    @contextmanager
    def running(self) -> Iterator[Process]:
        """Run the server; yield its process once it responds."""
        command = [*self._launcher, str(self._programs / "postgres"),
                   "-D", str(self._home / "data"), "-p", str(self._port), "-h", "127.0.0.1",
                   "-k", str(self._home), "-c", "fsync=off"]  # fmt: skip
        # On SIGTERM it would wait for every client to disconnect first.
        with running(command, log=self._home / "log", stop_signal=signal.SIGINT) as process:
            eventually(lambda: self._execute("SELECT 1", process))
            yield process

    def create(self, name: str) -> str:
        """Create a database and return its URL."""
        eventually(lambda: self._execute(f'CREATE DATABASE "{name}"'))
        return f"{self._base}/{name}"

    def _execute(self, statement: str, process: Process | None = None) -> bool:
        import psycopg

        if process is not None:
            _check_alive(process)
        try:
            with psycopg.connect(f"{self._base}/postgres", autocommit=True) as connection:
                connection.execute(statement.encode())
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres(*, port: int | None = None) -> Iterator[Callable[[str], str]]:
    """Run a PostgreSQL server; yield a function that creates a database and returns its URL."""
    with short_directory() as home:
        server = Postgres(home, port=port)
        with server.running():
            yield server.create


class Redis:
    """A Redis server without persistence that can be killed and restarted."""

    def __init__(self, directory: Path) -> None:
        """Choose a port; start nothing before `running`."""
        self._directory = directory
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    @contextmanager
    def running(self) -> Iterator[Process]:
        """Run the server; yield its process once it responds."""
        program = programs.find("redis-server", variable="REDIS_SERVER")
        command = [program, "--port", str(self._port), "--bind", "127.0.0.1",
                   "--dir", str(self._directory), "--save", "", "--daemonize", "no"]  # fmt: skip
        with running(command, log=self._directory / "redis.log") as process:
            eventually(lambda: self._responds(process))
            yield process

    def _responds(self, process: Process) -> bool:
        _check_alive(process)
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def service_environment(data_dir: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a backend process: a subset of ours, DATA_DIR and `variables`."""
    inherited = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "FFMPEG", "FFPROBE", "PYTHONHOME")
    kept = {name: os.environ[name] for name in inherited if name in os.environ}
    path = os.pathsep.join([str(BACKEND), *filter(None, sys.path)])
    return kept | {"PYTHONPATH": path, "DATA_DIR": str(data_dir)} | variables


@contextmanager
def api(
    data_dir: Path,
    *,
    log: Path,
    variables: Mapping[str, str] | None = None,
    healthy: bool = True,
    port: int | None = None,
    within: Sequence[str] = (),
) -> Iterator[tuple[str, Process]]:
    """Run `uvicorn main:app`; yield its base URL and process once it responds (and is healthy).

    `within` is a wrapper command that runs the command it is given.
    """
    chosen = free_port() if port is None else port
    command = [*within, sys.executable, "-m", "uvicorn", "main:app", "--port", str(chosen)]
    # As set in the image, which structure/metadata.yaml tests. The image has no library for
    # WebSockets; the tests' own would take a sixteenth of each start.
    defaults = {"UVICORN_HTTP": "app.connection:Connection", "UVICORN_WS": "none"}
    all_variables = defaults | dict(variables or {})
    environment = service_environment(data_dir, **all_variables)
    url = f"http://127.0.0.1:{chosen}"
    with running(command, log=log, environment=environment) as process:

        def responds() -> bool:
            _check_alive(process)
            try:
                reply = web.get(f"{url}/health", timeout=5)
            except httpx2.TransportError:
                return False
            return reply.is_success or not healthy

        eventually(responds)
        yield url, process


@contextmanager
def celery_worker(data_dir: Path, *, log: Path, variables: Mapping[str, str]) -> Iterator[Process]:
    """Run `celery -A app.worker worker`, named after its log; do not wait until it is ready."""
    command = [sys.executable, "-m", "celery", "-A", "app.worker", "worker", "--concurrency", "1",
               "--hostname", f"{log.name}@localhost"]  # fmt: skip
    environment = service_environment(data_dir, **variables)
    with running(command, log=log, environment=environment) as process:
        yield process

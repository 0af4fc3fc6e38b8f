"""Starts real servers for tests: PostgreSQL, Redis, uvicorn, a Celery worker. All on loopback."""

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
from tests.support import programs, unprivileged

T = TypeVar("T")
BACKEND = Path(unprivileged.__file__).absolute().parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class ServerError(Exception):
    """A server did not start, or did not stop."""


def eventually(ask: Callable[[], T | None], *, timeout: float = START_TIMEOUT_S) -> T:
    """Return the first answer that is neither None nor False; raise AssertionError in the end."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"no good answer within {timeout:g} s; the last one was {answer!r}")


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Process:
    """A running program and where its output goes."""

    popen: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM

    def output(self) -> str:
        """Return everything it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """End it and its children at once, as a power cut would."""
        os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def stop(self) -> int:
        """Ask it to end and return its exit code. Raises ServerError if it does not."""
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
    """Run a program in a process group of its own, and end it after the block."""
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


def _alive(process: Process) -> None:
    if process.popen.poll() is not None:
        raise ServerError(f"ended with {process.popen.returncode}:\n{process.output()}")


@contextmanager
def short_directory() -> Iterator[Path]:
    """Make a directory whose path is short enough for a socket and open to `nobody`."""
    path = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Postgres:
    """A PostgreSQL server that can be killed and started again; its data lie in `home`."""

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
        """Run the server; yields its process once it answers."""
        command = [*self._launcher, str(self._programs / "postgres"),
                   "-D", str(self._home / "data"), "-p", str(self._port), "-h", "127.0.0.1",
                   "-k", str(self._home), "-c", "fsync=off"]  # fmt: skip
        # On SIGTERM it would wait for every client to leave first.
        with running(command, log=self._home / "log", stop_signal=signal.SIGINT) as process:
            eventually(lambda: self._execute("SELECT 1", process))
            yield process

    def create(self, name: str) -> str:
        """Make a database and return its URL."""
        eventually(lambda: self._execute(f'CREATE DATABASE "{name}"'))
        return f"{self._base}/{name}"

    def _execute(self, statement: str, process: Process | None = None) -> bool:
        import psycopg

        if process is not None:
            _alive(process)
        try:
            with psycopg.connect(f"{self._base}/postgres", autocommit=True) as connection:
                connection.execute(statement.encode())
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres(*, port: int | None = None) -> Iterator[Callable[[str], str]]:
    """Run a PostgreSQL server; yields a function that makes a database and returns its URL."""
    with short_directory() as home:
        server = Postgres(home, port=port)
        with server.running():
            yield server.create


class Redis:
    """One Redis server that can be killed and started again; it then has forgotten everything."""

    def __init__(self, directory: Path) -> None:
        """Choose a port; nothing runs before `running`."""
        self._directory = directory
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    @contextmanager
    def running(self) -> Iterator[Process]:
        """Run the server; yields its process once it answers."""
        program = programs.find("redis-server", variable="REDIS_SERVER")
        command = [program, "--port", str(self._port), "--bind", "127.0.0.1",
                   "--dir", str(self._directory), "--save", "", "--daemonize", "no"]  # fmt: skip
        with running(command, log=self._directory / "redis.log") as process:
            eventually(lambda: self._answers(process))
            yield process

    def _answers(self, process: Process) -> bool:
        _alive(process)
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def service_environment(data_dir: Path, **variables: str) -> dict[str, str]:
    """Return an environment for a process of the backend: this one's, a data folder, and more."""
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
    """Run `uvicorn main:app`; yields its base URL and the process, once it answers (healthy).

    `within` is a command that runs the one it is given.
    """
    chosen = free_port() if port is None else port
    command = [*within, sys.executable, "-m", "uvicorn", "main:app", "--port", str(chosen)]
    # As the image says; structure/metadata.yaml holds it to that.
    named = {"UVICORN_HTTP": "app.connection:Connection"} | dict(variables or {})
    environment = service_environment(data_dir, **named)
    url = f"http://127.0.0.1:{chosen}"
    with running(command, log=log, environment=environment) as process:

        def answers() -> bool:
            _alive(process)
            try:
                reply = httpx2.get(f"{url}/health", timeout=5)
            except httpx2.TransportError:
                return False
            return reply.is_success or not healthy

        eventually(answers)
        yield url, process


@contextmanager
def celery_worker(data_dir: Path, *, log: Path, variables: Mapping[str, str]) -> Iterator[Process]:
    """Run `celery -A app.worker worker`; returns at once, tasks wait until it is ready."""
    command = [sys.executable, "-m", "celery", "-A", "app.worker", "worker", "--concurrency", "1"]
    environment = service_environment(data_dir, **variables)
    with running(command, log=log, environment=environment) as process:
        yield process

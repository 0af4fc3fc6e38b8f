"""Run a real RabbitMQ server on loopback as the current user, without its shell scripts."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import servers
from tests.support.programs import MissingProgramError
from tests.support.servers import Process, eventually

_CONFIGURATION = """\
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users.guest = true
disk_free_limit.absolute = 1MB
"""
# Nothing waits for work by spinning; the threads of more schedulers would only wake each other.
_ONE_THREAD_EACH = ("+S", "1:1", "+SDcpu", "1:1", "+SDio", "1",
                    "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none")  # fmt: skip


class Broker:
    """A broker that can be killed and restarted; its queues are stored in `home`."""

    def __init__(self, home: Path) -> None:
        """Choose ports and write the configuration; nothing runs before `running`."""
        self._root = Path(os.environ.get("RABBITMQ_ROOT", "/"))
        self._home = home
        self._port = servers.free_port()
        self._epmd_port = servers.free_port()
        self._erlang = self._root / "usr/lib/erlang"
        self._programs = self._only("usr/lib/erlang/erts-*/bin")
        self._server = self._only("usr/lib/rabbitmq/lib/rabbitmq_server-*")
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        text = _CONFIGURATION.format(port=self._port)
        (home / "rabbitmq.conf").write_text(text, encoding="ascii")
        (home / "plugins").write_text("[].", encoding="ascii")
        self._link_applications()

    def _link_applications(self) -> None:
        """Link the applications that RabbitMQ depends on, as the directory for ERL_LIBS.

        Erlang looks for each module in one directory after the other. With those of all plugins, it
        misses 40,000 times, which is half of the processor time of a start.
        """
        libraries = self._home / "lib"
        libraries.mkdir()
        names = ["rabbit"]
        for name in names:  # grows meanwhile
            # Others are Erlang's own.
            for path in (self._server / "plugins").glob(f"{name}-*/ebin/{name}.app"):
                (libraries / path.parents[1].name).symlink_to(path.parents[1])
                needed = re.search(r"{applications,\s*\[([^]]*)\]", path.read_text("utf-8"))
                found = re.findall(r"\w+", needed[1]) if needed else []
                names += [each for each in found if each not in names]

    def _modules(self) -> str:
        """Return the modules that every start loads, which is faster together than one by one."""
        applications = [*self._home.glob("lib/*"), *self._erlang.glob("lib/inets-*"),
                        *self._erlang.glob("lib/compiler-*")]  # fmt: skip
        return ",".join(beam.stem for path in applications for beam in path.glob("ebin/*.beam"))

    def _only(self, pattern: str) -> Path:
        found = sorted(self._root.glob(pattern))
        if len(found) != 1:
            raise MissingProgramError(
                f"{len(found)} directories match {self._root / pattern}: install rabbitmq-server, "
                "or set RABBITMQ_ROOT to the directory that contains its usr/lib"
            )
        return found[0].absolute()

    def _environment(self) -> dict[str, str]:
        home = self._home
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "ROOTDIR": str(self._erlang),
            "BINDIR": str(self._programs),
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_LIBS": str(home / "lib"),
            "RABBITMQ_HOME": str(self._server),
            "RABBITMQ_NODENAME": "broker@localhost",
            "RABBITMQ_DIST_PORT": str(servers.free_port()),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home),
            "RABBITMQ_LOGS": "-",
            "LANG": "C.UTF-8",
        }

    @contextmanager
    def running(self) -> Iterator[Process]:
        """Run the server; yield its process once it accepts connections."""
        environment = self._environment()
        # Erlang's port mapper daemon; the server would start it through a script.
        names = [str(self._programs / "epmd"), "-address", "127.0.0.1"]
        rabbit = self._server / "plugins"
        command = [
            str(self._programs / "erlexec"), "-noinput",
            "-boot", "start_sasl", "-pa", *map(str, sorted(rabbit.glob("rabbit-*/ebin"))),
            "-eval", f"code:ensure_modules_loaded([{self._modules()}]).",
            "-kernel", "inet_dist_use_interface", "{127,0,0,1}", *_ONE_THREAD_EACH,
            "-s", "rabbit", "boot",
        ]  # fmt: skip
        log = self._home / "rabbitmq.log"
        with (
            servers.running(names, log=log, environment=environment),
            servers.running(command, log=log, environment=environment) as process,
        ):
            eventually(lambda: self._accepts_connections(process), timeout=120)
            yield process

    def _accepts_connections(self, process: Process) -> bool:
        if process.popen.poll() is not None:
            raise servers.ServerError(
                f"exited with code {process.popen.returncode}:\n{process.output()}"
            )
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"  # a method frame: Connection.Start
        except OSError:
            return False


@contextmanager
def rabbitmq() -> Iterator[Broker]:
    """Yield a broker that is not running yet, in a directory of its own."""
    with servers.short_directory() as home:
        yield Broker(home)

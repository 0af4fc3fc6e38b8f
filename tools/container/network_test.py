"""A container's own network: what comes in, what goes out, and what cannot be reached."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.container.config import image_user
from tools.container.containers_for_test import ENV, python, run_program
from tools.container.plan import Spec, make_plan
from tools.container.relay import may_reach, nameserver
from tools.container.run import Container
from tools.image.cache import Rootfs
from tools.image.images_for_test import PYTHON, PYTHON_ENV

ECHO = """
import socket, threading
def answer(connection):
    with connection:
        while data := connection.recv(1 << 16):
            connection.sendall(data)
server = socket.create_server(("127.0.0.1", 8000), backlog=200)
print("up", flush=True)
while True:
    threading.Thread(target=answer, args=(server.accept()[0],)).start()
"""
# What a program inside finds at an address: what the server says, or the error.
FIND = """
import errno, socket
def find(address, port=80):
    try:
        with socket.create_connection((address, port), timeout=10) as connection:
            assert connection.getpeername()[0] == address
            return connection.recv(100).decode()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
"""


@pytest.fixture
def spec(with_python: Rootfs) -> Spec:
    return Spec(rootfs=with_python, user=image_user(with_python, "app"))


@contextmanager
def echo(spec: Spec) -> Iterator[tuple[Container, socket.socket]]:
    """A container in which a server echoes, and the host's socket through which it is reached."""
    listener = socket.create_server(("127.0.0.1", 0))
    env = {**ENV, **dict([PYTHON_ENV.split("=")])}
    read, write = os.pipe()
    with Container(spec, publish={8000: [listener]}) as container, open(os.devnull) as null:
        address = listener.getsockname()
        # Nobody listens yet.
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection(address, timeout=30) as early,
        ):
            early.recv(1)
        command = [*PYTHON, "-c", ECHO]
        container.spawn(command, env=env, stdin=null.fileno(), stdout=write, stderr=2)
        os.close(write)
        assert os.read(read, 10) == b"up\n"
        os.close(read)
        yield container, listener


@pytest.mark.parametrize("network", ["none", "web"])
def test_a_port_is_handed_in(spec: Spec, network: str) -> None:
    data = os.urandom(8 << 20)
    with echo(replace(spec, network=network)) as (_, listener):
        address = listener.getsockname()
        with socket.create_connection(address, timeout=60) as connection:

            def send() -> None:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)

            sender = threading.Thread(target=send)
            sender.start()
            received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            sender.join()
        assert received == data
        many = [socket.create_connection(address, timeout=60) for _ in range(150)]
        for number, each in enumerate(many):
            each.sendall(b"%d" % number)
        for number, each in enumerate(many):
            assert each.recv(10) == b"%d" % number
            each.close()


def test_abstract_sockets_of_the_host_are_out_of_reach(spec: Spec) -> None:
    name = f"isolation-test-{os.getpid()}"
    program = f"""
import errno, socket
with socket.socket(socket.AF_UNIX) as handle:
    print(errno.errorcode.get(handle.connect_ex("\\0{name}"), "connected"))
"""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        for network, found in (("none", "ECONNREFUSED"), ("web", "ECONNREFUSED"),
                               ("host", "connected")):  # fmt: skip
            assert python(replace(spec, network=network), program) == f"{found}\n"


def test_the_hosts_loopback_is_out_of_reach(spec: Spec) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        program = f"{FIND}\nprint(find('127.0.0.1', {listener.getsockname()[1]}))"
        for network in ("none", "web"):
            assert python(replace(spec, network=network), program) == "ECONNREFUSED\n"


# A host that is the whole world: it has every address, says at port 80 which one was asked for,
# and is its own name server.
WORLD = f"""
import socket, threading
from tools.container.relay import nameserver
from tools.linux.loopback import every_address_local, loopback_up
unshare_as(os.geteuid(), os.getegid(), linux.CLONE_NEWNS | linux.CLONE_NEWNET)
loopback_up()
every_address_local()
server = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
names = socket.socket(socket.AF_INET6 if ":" in nameserver() else socket.AF_INET, socket.SOCK_DGRAM)
names.bind((nameserver(), 53))
def serve():
    while True:
        connection = server.accept()[0]
        connection.sendall(b"this is " + connection.getsockname()[0].encode())
        connection.close()
def resolve():
    while True:
        question, client = names.recvfrom(1000)
        names.sendto(b"answer to " + question, client)
for work in (serve, resolve):
    threading.Thread(target=work, daemon=True).start()
program = {FIND!r} + '''
for address in ("93.184.216.34", "2606:4700::1111", "10.0.0.1", "169.254.169.254", "192.168.1.1",
                "100.64.0.1", "fd00::1", "64:ff9b:1::1", "127.0.0.1", "::1"):
    print(address, find(address))
print("22", find("93.184.216.34", 22))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.connect(("127.0.0.1", 53))
    asking.send(b"this")
    print(asking.recv(100).decode())
'''
with Container(Spec(rootfs=rootfs, user=User(1000, 1000), network="web")) as container:
    env = dict([{PYTHON_ENV!r}.split("=")])
    done = container.run([*{PYTHON!r}, "-c", program], env=env, timeout=30)
print(done.stdout.decode(), done.stderr.decode())
"""


def test_only_public_addresses_at_web_ports_and_names_can_be_reached(with_python: Rootfs) -> None:
    assert run_program(with_python, WORLD).split("\n")[:-2] == [
        "93.184.216.34 this is ::ffff:93.184.216.34",
        "2606:4700::1111 this is 2606:4700::1111",
        *(
            f"{address} ECONNRESET"
            for address in (
                "10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "fd00::1",
                "64:ff9b:1::1", "127.0.0.1", "::1",
            )
        ),
        "22 ECONNREFUSED",
        "answer to this",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("::ffff:1.1.1.1", True),
        ("::ffff:127.0.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("2002:0a00:0001::", False),
        ("64:ff9b::1.1.1.1", True),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b:1::1", False),
        ("::", False),
    ],
)
def test_public_addresses_are_told_from_others(address: str, public: bool) -> None:
    assert may_reach(address) is public


def test_the_hosts_first_name_server_is_asked(tmp_path: Path) -> None:
    (tmp_path / "conf").write_text("# x\nsearch a\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    assert nameserver(tmp_path / "conf") == "192.0.2.1"
    assert nameserver(tmp_path / "none") == "127.0.0.1"


def test_capabilities_in_the_network_of_the_relay_are_refused(spec: Spec) -> None:
    with pytest.raises(ToolError, match='capabilities cannot be given in the network "web"'):
        make_plan(replace(spec, network="web", capabilities=("SYS_CHROOT",)))

"""What an attacker does who controls ffprobe or ffmpeg: run as one of them, with `AIM` above it.

It prints one line of JSON to stderr: the attacks that succeed ("yes"), and those that failed by the
name of the error.
"""

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

AIM: dict[str, Any] = {}  # set by the test
NOTHING = "nothing"  # for an attack that no error stops, but that finds nothing


def search(name: str) -> str:
    """Search the service's processes for a secret, in their environment or in their memory."""
    failure = None
    for pid in processes():
        try:
            if AIM["secret"].encode() in (environ if name == "environ" else memory)(pid):
                return "yes"
        except OSError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return NOTHING


def processes() -> list[int]:
    """Return the parent and its other children."""
    parent, found = os.getppid(), [os.getppid()]
    with contextlib.suppress(OSError):
        for path in Path("/proc").glob("[0-9]*/status"):
            fields = dict(line.split(":", 1) for line in path.read_text().splitlines())
            if int(fields["PPid"]) == parent and int(fields["Pid"]) != os.getpid():
                found.append(int(fields["Pid"]))
    return found


def environ(pid: int) -> bytes:
    """Return the environment of a process."""
    return Path(f"/proc/{pid}/environ").read_bytes()


def memory(pid: int) -> bytes:
    """Return the writable memory of a process."""
    heaps = [
        [int(number, 16) for number in line.split()[0].split("-")]
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if line.split()[1].startswith("rw")
    ]
    found = b""
    for start, end in heaps:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as file:
            file.seek(start)
            found += file.read(end - start) or b""
    return found


def parent(name: str) -> str:
    """Reach for the parent's memory or registers without /proc."""
    libc = ctypes.CDLL(None, use_errno=True)
    if name == "ptrace":
        result = libc.ptrace(16, os.getppid(), None, None)  # PTRACE_ATTACH
        if result == 0:
            libc.ptrace(17, os.getppid(), None, None)  # PTRACE_DETACH
    else:
        os.kill(os.getppid(), signal.SIGWINCH)
        result = 0
    if result != 0:
        raise OSError(ctypes.get_errno(), "")
    return "yes"


def read(name: str) -> str:
    """Read a file: the input, or one of the service's."""
    path = next(word[5:] for word in sys.argv if word.startswith("file:"))
    return "yes" if Path(path if name == "input" else AIM[name]).read_bytes() else NOTHING


def names(_: str) -> str:
    """List the videos of others."""
    return "yes" if list(Path(AIM["directory"]).iterdir()) else NOTHING


def change(name: str) -> str:
    """Create, overwrite, remove or lock away a file."""
    if name == "create":
        Path(AIM["directory"], "created").write_bytes(b"evil")
    elif name == "overwrite":
        with Path(AIM["victim"]).open("r+b") as file:
            file.write(b"evil")
    elif name == "remove":
        Path(AIM["victim"]).unlink()
    else:
        Path(AIM["victim"]).chmod(0o600)
    return "yes"


def reach(name: str) -> str:
    """Reach a server."""
    family = socket.AF_INET if name in ("tcp", "udp") else socket.AF_UNIX
    kind = socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as client:
        address = AIM[name]
        client.connect(tuple(address) if isinstance(address, list) else address)
        client.send(b"GET / HTTP/1.0\r\n\r\n")
    return "yes"


def listen(_: str) -> str:
    """Open a port."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
    return "yes"


def fork(_: str) -> str:
    """Start another process."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "yes"


ATTACKS: dict[str, Callable[[str], str]] = {
    "input": read, "environ": search, "memory": search, "ptrace": parent, "database": read,
    "other": read, "names": names, "create": change, "overwrite": change, "chmod": change,
    "remove": change, "tcp": reach, "udp": reach, "unix": reach, "abstract": reach,
    "listen": listen, "signal": parent, "fork": fork,
}  # fmt: skip


def main() -> None:
    """Try everything, and say what succeeded."""
    found = {}
    for name, attack in ATTACKS.items():
        try:
            found[name] = attack(name)
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno or 0, "error")
    grouped: dict[str, list[str]] = {}
    for name, outcome in found.items():
        grouped.setdefault(outcome, []).append(name)
    # Short: the service cuts long lines.
    sys.stderr.write(json.dumps({key: " ".join(value) for key, value in grouped.items()}) + "\n")
    sys.exit(1)


if __name__ == "__main__":
    main()

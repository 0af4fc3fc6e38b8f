"""What tests of containers share: an image's extra files, and programs that start containers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tools.container.plan import Spec
from tools.container.run import Completed, Container
from tools.image.cache import Rootfs
from tools.image.images_for_test import PYTHON, PYTHON_ENV, Member, directory, link

ENV = {"PATH": "/bin"}
EXTRA = [
    directory("opt", 0o755),
    directory("opt/mine", 0o755, 1000, 1000),
    Member("opt/mine/theirs", b"x", mode=0o644),
    Member("opt/note", b"x", uid=1000, gid=1000),
    Member("opt/plain", b"just text\n", mode=0o755),
    Member("opt/bad", b"#!/no/such/interpreter\n", mode=0o755),
    link("opt/door", "/etc"),
]


# Programs of their own, for what must not happen to the process of the tests.
IMPORTS = """
import os, sys
from pathlib import Path
from tools.linux import syscalls as linux
from tools.linux.namespaces import unshare_as
from tools.image.cache import Rootfs
from tools.container.plan import Bind, Spec
from tools.container.run import Container, ContainerError
from tools.container.config import User
from tools.image.tree import Tree
folder = Path(sys.argv[1])
rootfs = Rootfs(folder / "rootfs", Tree.from_json((folder / "tree.json").read_text()))
"""
IN_ANOTHER_NAMESPACE = """
unshare_as(os.geteuid(), os.getegid(), linux.CLONE_NEWNS)
"""


def start_program(rootfs: Rootfs, program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTS + program, str(rootfs.path.parent)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run_program(rootfs: Rootfs, program: str) -> str:
    with start_program(rootfs, program) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out


def sh(spec: Spec, script: str, *, timeout: float = 30, workdir: str = "/") -> Completed:
    with Container(spec) as container:
        return container.run(["sh", "-c", script], env=ENV, workdir=workdir, timeout=timeout)


def output(spec: Spec, script: str) -> str:
    result = sh(spec, script)
    assert (result.exit_code, result.stderr) == (0, b"")
    return result.stdout.decode().strip()


def python(spec: Spec, program: str) -> str:
    env = dict([PYTHON_ENV.split("=")])
    with Container(spec) as container:
        result = container.run([*PYTHON, "-c", program], env=env, timeout=60)
    assert (result.exit_code, result.stderr) == (0, b"")
    return result.stdout.decode()


def children(pid: int) -> list[int]:
    """The processes below `pid`, nearest first."""
    found = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [below for child in found for below in children(child)]

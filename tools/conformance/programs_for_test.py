"""Run other people's programs, from their lock, in a root directory of their own.

    python programs_for_test.py TREE STATE SHARED PROGRAM [ARGUMENT …]

TREE is the packages' file system, which becomes the root directory; STATE keeps Podman's storage
between calls; SHARED is a directory at the same path inside and outside, and the working directory.
The network is the machine's, for a registry on its loopback. No setting and no key of the machine
is seen: /etc and HOME hold only what is written here and what the programs leave in STATE.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.structure_test import podman_for_test

SECONDS = 120
# Unlike a vfs, an overlay does not copy what is below each layer.
STORAGE_CONF = """
[storage]
driver = "overlay"
graphroot = "/var/lib/containers"
runroot = "/run/containers"
[storage.options.overlay]
ignore_chown_errors = "true"
"""
# Only one user can be mapped: in containers the one of our images. They have no network.
CONTAINERS_CONF = podman_for_test.CONTAINERS_CONF.replace(
    "[containers]", '[containers]\nnetns = "none"\nuserns = "keep-id:uid=1000,gid=1000"'
)
ETC = {
    **podman_for_test.ETC,
    "containers/containers.conf": CONTAINERS_CONF,
    "containers/storage.conf": STORAGE_CONF,
}
ENVIRONMENT = {
    **podman_for_test.ENVIRONMENT,
    # diffoscope's Python asks ldconfig, which is not there, where a library is.
    "LIBARCHIVE": "libarchive.so.13",
}


@dataclass(frozen=True)
class Programs:
    """The programs, and the directory that they and the test share.

    variables: of the environment of every program, for instance COSIGN_PASSWORD.
    """

    tree: Path
    state: Path
    work: Path
    variables: Mapping[str, str]

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs `words` from outside, in `environment`."""
        places = (str(self.tree), str(self.state), str(self.work))
        return [sys.executable, __file__, *places, *words]

    @property
    def environment(self) -> dict[str, str]:
        """What `command` needs, and `variables`."""
        return {"PYTHONPATH": os.pathsep.join(sys.path), **self.variables}

    def attempt(
        self, *words: str, text: str = "", seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a program, whatever its exit code; `text` is its input."""
        return subprocess.run(
            self.command(*words),
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def run(self, *words: str, text: str = "") -> str:
        """Return the standard output of a program that must succeed."""
        done = self.attempt(*words, text=text)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def output(self, *words: str) -> str:
        """Return everything that a program that must succeed prints, errors and all."""
        done = self.attempt(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def read(self, *words: str) -> Any:
        """Return the JSON that a program prints."""
        return json.loads(self.run(*words))

    def refused(self, *words: str) -> str:
        """Return what a program that must fail says."""
        done = self.attempt(*words)
        assert done.returncode != 0, f"{words} succeeded: {done.stdout}"
        return done.stdout + done.stderr


def programs(folder: Path, **variables: str) -> Programs:
    """Return the programs with a new state and a new shared directory below `folder`.

    CONFORMANCE_COSIGN names one of the programs, wherever the build put them.
    """
    tree = Path(os.environ["CONFORMANCE_COSIGN"]).resolve().parents[2]
    state, work = folder / "state", folder / "work"
    for path in (state, work):
        path.mkdir(parents=True)
    return Programs(tree, state, work, variables)


def copy_layout(layout: Path, target: Path) -> Path:
    """Copy a layout, its links followed, with permissions that any program can work with."""
    shutil.copytree(layout, target, copy_function=shutil.copyfile)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def main() -> None:
    """Become the program; see the module docstring."""
    tree, state, shared = map(Path, sys.argv[1:4])
    podman_for_test.enter(tree, state, shared, etc=ETC)
    os.chdir(shared)
    environment = {**os.environ, **ENVIRONMENT}
    del environment["PYTHONPATH"]
    os.execvpe(sys.argv[4], sys.argv[4:], environment)


if __name__ == "__main__":
    main()

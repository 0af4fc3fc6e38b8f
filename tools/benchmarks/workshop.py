"""The two ways to make one image: `tools/bazelw` in a checkout, and buildah with a Dockerfile."""

from __future__ import annotations

import http.client
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tools.apt.mirrors import DEBIAN, archive_urls
from tools.cli import ToolError
from tools.image.layout import read_layout
from tools.oci.missing_layers import Engine, pull_into_podman

OURS, THEIRS = "localhost/compare/ours:latest", "localhost/compare/dockerfile:latest"
_BASE = "localhost/compare/base:latest"
_TARGET = "//backend:image"
_ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), "amd64")
_TIMEOUT = 60.0
_APP = ("alembic.ini", "main.py", "app", "migrations")
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{work}/store"\nrunroot = "{work}/run"\n'


def needed(programs: Mapping[str, str]) -> None:
    """Raise ToolError if one of the programs is not on PATH; the values say what for."""
    for name, purpose in programs.items():
        if shutil.which(name) is None:
            raise ToolError(
                f"{name} is not on PATH; install it ({purpose}): apt-get install {name}"
            )


@dataclass
class Workshop:
    """A checkout, and a directory with everything of the Dockerfile: context, images, registry.

    Nothing of the user's own images is used or changed.
    """

    checkout: Path
    work: Path
    base: str | None = None
    environ: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def __post_init__(self) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        settings = self.work / "storage.conf"
        settings.write_text(_STORAGE.format(work=self.work), encoding="utf-8")
        self.environ["CONTAINERS_STORAGE_CONF"] = str(settings)

    @property
    def context(self) -> Path:
        """The directory that the Dockerfile copies from."""
        return self.work / "context"

    @property
    def lock(self) -> Path:
        """The wheels for this machine, relative to the checkout."""
        return Path(f"third_party/python/requirements.{_ARCHITECTURE}.txt")

    def run(self, *command: str, environ: Mapping[str, str] | None = None) -> str:
        """Return the standard output of a command, run in the checkout.

        Raise ToolError with the end of its errors if it fails.
        """
        done = subprocess.run(
            command,
            cwd=self.checkout,
            env=dict(environ or self.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            words = " ".join(command)
            raise ToolError(f"{words}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout

    def bazel(self, *arguments: str) -> None:
        """Run Bazel in the checkout."""
        self.run("tools/bazelw", *arguments)

    def build_ours(self) -> None:
        """Build our image."""
        self.bazel("build", _TARGET)

    def build_theirs(self, *flags: str) -> None:
        """Build the Dockerfile's image; its layers are cached."""
        command = ["buildah", "build", "--layers", "--isolation=chroot", "--network=host"]
        command += [f"--tag={THEIRS}", f"--build-arg=BASE={self.base or _BASE}"]
        if "PIP_INDEX_URL" in self.environ:
            command += [f"--build-arg=PIP_INDEX_URL={self.environ['PIP_INDEX_URL']}"]
        if "PIP_CERT" in self.environ:
            # Not where a package installs its own.
            command += [f"--volume={self.environ['PIP_CERT']}:/run/ca.crt:ro"]
            command += ["--build-arg=PIP_CERT=/run/ca.crt"]
        self.run(*command, *flags, str(self.context))

    def prepare(self) -> None:
        """Build both images once, so that what follows measures changes."""
        shutil.rmtree(self.context, ignore_errors=True)
        (self.context / "data").mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("Dockerfile"), self.context)
        shutil.copy(self.checkout / self.lock, self.context / "requirements.txt")
        for name in _APP:
            source, target = self.checkout / "backend" / name, self.context / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        if self.base is None:
            self._make_base()
        self.build_ours()
        self.build_theirs()

    def _make_base(self) -> None:
        """Make an image of Debian's essential packages and apt; raise ToolError."""
        if _BASE in self.run("buildah", "images", "--format={{.Name}}:{{.Tag}}").split():
            return
        if os.geteuid():
            raise ToolError("only root can run debootstrap; pass --base with an image of Debian 12")
        needed({"debootstrap": "it makes the Dockerfile's base image; or pass --base"})
        root = self.work / "base"
        mirrors = archive_urls(DEBIAN, environ=self.environ)
        shutil.rmtree(root, ignore_errors=True)
        self.run("debootstrap", "--variant=minbase", "bookworm", str(root), *mirrors[:1])
        self.import_base(root)
        shutil.rmtree(root)

    def import_base(self, root: Path) -> None:
        """Make the base image from the directory of a root file system."""
        container = self.run("buildah", "from", "scratch").strip()
        self.run("buildah", "add", container, str(root), "/")
        self.run("buildah", "commit", "--rm", container, _BASE)

    def load_ours(self) -> None:
        """Put our image where podman finds the Dockerfile's."""
        layout = self.checkout / f"bazel-bin/backend/image_{_ARCHITECTURE}"
        podman = Engine("podman", self.environ)
        if pull_into_podman(podman, layout, read_layout(layout), [OURS]):
            raise ToolError(f"podman cannot load {layout}")

    @contextmanager
    def registry(self) -> Iterator[tuple[str, Path]]:
        """Run a registry on loopback; yield its host, and the directory of its blobs."""
        self.bazel("build", "@registry//:docker-registry")
        program = self.checkout / "bazel-pinned_image/external/registry/usr/bin/docker-registry"
        if not program.exists():
            base = self.run("tools/bazelw", "info", "output_base").strip()
            program = Path(base, "external/registry/usr/bin/docker-registry")
        port, data = free_port(), self.work / "registry"
        shutil.rmtree(data, ignore_errors=True)
        config = self.work / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {data}}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}', secret: benchmark}}\n",
            encoding="utf-8",
        )
        log = (self.work / "registry.log").open("wb")
        quiet = {**self.environ, "OTEL_TRACES_EXPORTER": "none"}
        server = subprocess.Popen(
            [str(program), "serve", str(config)], stdout=log, stderr=log, env=quiet
        )
        try:
            wait_for(port, "/v2/")
            yield f"127.0.0.1:{port}", data
        finally:
            server.terminate()
            server.wait()
            log.close()

    def push_ours(self, host: str) -> None:
        """Build and push our image."""
        where = ["--insecure", "--repository", f"{host}/ours", "--tag=compare"]
        self.bazel("run", "//backend:push", "--", *where)

    def push_theirs(self, host: str) -> None:
        """Build and push the Dockerfile's image."""
        self.build_theirs()
        target = f"docker://{host}/theirs:compare"
        self.run("buildah", "push", "--tls-verify=false", THEIRS, target)

    def start(self, image: str) -> float:
        """Return the seconds from `podman run` to the first healthy answer."""
        port = free_port()
        command = ["uvicorn", "main:app", "--host=127.0.0.1", f"--port={port}"]
        started = time.monotonic()
        # Limits that every machine allows; and not crun, which rejects mixed control groups.
        runtime = ["--runtime=runc"] if shutil.which("runc") else []
        flags = [
            "--detach",
            "--network=host",
            "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=1024:1024",
        ]
        container = self.run("podman", *runtime, "run", *flags, image, *command).strip()
        try:
            wait_for(port, "/health")
            return time.monotonic() - started
        finally:
            self.run("podman", *runtime, "rm", "--force", "--time=0", container)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, path: str) -> None:
    """Ask until the answer is 200; raise ToolError after a minute."""
    end = time.monotonic() + _TIMEOUT
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    raise ToolError(f"port {port}: no healthy answer to {path} within {_TIMEOUT:.0f} s")


def stored(directory: Path) -> int:
    """Return the bytes of all files below a directory."""
    return sum(each.stat().st_size for each in directory.rglob("*") if each.is_file())

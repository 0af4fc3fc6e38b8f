"""skopeo, umoci and podman read our images."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.container.config import User
from tools.container.plan import Bind, Spec
from tools.container.run import Container
from tools.image.cache import Rootfs, unpacked
from tools.image.layout import Image, open_layout, read_children, read_image, read_layout
from tools.registry import push
from tools.registry.registry_for_test import Server, running

IMAGES = Path(os.environ["IMAGES"])
ENV = {"HOME": "/home", "PATH": "/usr/bin:/usr/sbin", "TMPDIR": "/tmp"}
# A tag for readers that require one.
TAG = "here"


@dataclass(frozen=True)
class Readers:
    """A container with the readers, and the directory it sees as /images."""

    container: Container
    work: Path

    def run(self, *command: str) -> str:
        """Standard output of a command that must succeed."""
        done = self.container.run(list(command), env=ENV, timeout=120, workdir="/images")
        assert done.exit_code == 0, f"{command}: {done.stderr.decode()}"
        return done.stdout.decode()

    def read(self, *command: str) -> Any:
        """The JSON a command prints."""
        return json.loads(self.run(*command))


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    layers = read_layout(IMAGES / "readers").layers
    with unpacked(layers, scratch=tmp_path_factory.mktemp("scratch")) as found:
        yield found


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images, their links followed: as another ruleset, or a copy, would have them."""
    work = tmp_path_factory.mktemp("work")
    for name in ("image", "image_healthy", "image_uncompressed", "image_zstd", "index"):
        shutil.copytree(IMAGES / name, work / name)
    for name in ("docker", "oci"):
        shutil.copy(IMAGES / f"load_{name}" / "tarball.tar", work / f"{name}.tar")
    for path in (work, *work.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return work


@pytest.fixture(scope="module")
def readers(rootfs: Rootfs, work: Path) -> Iterator[Readers]:
    """A container with a network and without privileges."""
    spec = Spec(
        rootfs=rootfs,
        user=User(0, 0),
        network="host",
        binds=(Bind(work, "/images"),),
        workdir="/images",
    )
    with Container(spec) as container:
        yield Readers(container, work)


@pytest.fixture(scope="module")
def podman(rootfs: Rootfs, work: Path) -> Iterator[Readers]:
    spec = Spec(
        rootfs=rootfs,
        user=User(0, 0),
        privileged=True,
        binds=(Bind(work, "/images", read_only=True),),
        tmpfs=("/sys/fs/cgroup",),
        workdir="/images",
    )
    with Container(spec) as container:
        yield Readers(container, work)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("registry")) as found:
        yield found


def _config_digest(image: Image) -> str:
    digest: str = image.manifest["config"]["digest"]
    return digest


def _stored(directory: Path) -> dict[str, Any]:
    """The manifest of a `dir:` image whose every layer has been checked by skopeo."""
    manifest: dict[str, Any] = json.loads((directory / "manifest.json").read_bytes())
    assert all((directory / each["digest"][7:]).is_file() for each in manifest["layers"])
    return manifest


@pytest.mark.parametrize("name", ["image", "image_uncompressed", "image_zstd"])
def test_skopeo_reads_a_layout(readers: Readers, name: str) -> None:
    image = read_layout(readers.work / name)
    seen = readers.read("skopeo", "inspect", f"oci:{name}")
    assert seen["Digest"] == image.digest
    assert seen["Layers"] == [layer.digest for layer in image.layers]
    assert seen["Env"] == ["GREETING=hello world"]
    assert seen["Labels"] == {"org.example.what": "a=b"}
    assert readers.read("skopeo", "inspect", "--config", f"oci:{name}") == image.config
    # A copy reads every byte and compares every digest, the uncompressed ones included.
    readers.run("skopeo", "copy", "-q", f"oci:{name}", f"dir:copy_of_{name}")
    assert _stored(readers.work / f"copy_of_{name}") == image.manifest


def test_skopeo_reads_a_docker_archive(readers: Readers) -> None:
    image = read_layout(readers.work / "image_healthy")
    source = "docker-archive:docker.tar:readers.example/app:docker"
    assert readers.read("skopeo", "inspect", "--config", "--raw", source) == image.config
    readers.run("skopeo", "copy", "-q", source, "dir:from_docker")
    manifest = _stored(readers.work / "from_docker")
    assert manifest["config"]["digest"] == _config_digest(image)
    # skopeo takes the layers of such an archive apart.
    assert [each["digest"] for each in manifest["layers"]] == [
        layer.diff_id for layer in image.layers
    ]


def test_skopeo_reads_an_oci_archive(readers: Readers) -> None:
    image = read_layout(readers.work / "image")
    source = "oci-archive:oci.tar:readers.example/app:oci"
    assert readers.read("skopeo", "inspect", source)["Digest"] == image.digest


@pytest.mark.parametrize("name", ["image", "image_healthy", "image_zstd"])
def test_skopeo_reads_a_pushed_image(readers: Readers, server: Server, name: str) -> None:
    image = read_layout(readers.work / name)
    _push(readers.work / name, server, name)
    source = f"docker://{server.host}/{name}:{TAG}"
    plain = ("--tls-verify=false",)
    seen = readers.read("skopeo", "inspect", *plain, source)
    assert seen["Digest"] == image.digest
    assert readers.read("skopeo", "inspect", *plain, "--config", "--raw", source) == image.config
    readers.run("skopeo", "copy", "-q", "--src-tls-verify=false", source, f"dir:pulled_{name}")
    assert _stored(readers.work / f"pulled_{name}") == image.manifest


def test_skopeo_copies_every_image_of_an_index(readers: Readers, server: Server) -> None:
    layout = open_layout(readers.work / "index")
    _push(readers.work / "index", server, "index")
    source = f"docker://{server.host}/index:{TAG}"
    readers.run("skopeo", "copy", "-q", "--all", "--src-tls-verify=false", source, "oci:all:all")
    copy = open_layout(readers.work / "all")
    assert copy.root.digest == layout.root.digest
    for child in read_children(copy, copy.root):
        assert read_image(copy, child).digest == child.digest


def test_umoci_unpacks_files_with_their_owners_and_modes(readers: Readers) -> None:
    image = read_layout(readers.work / "image")
    readers.run("skopeo", "copy", "-q", "oci:image", f"oci:tagged:{TAG}")
    assert open_layout(readers.work / "tagged").root.digest == image.digest
    history = readers.read("umoci", "stat", "--json", "--image", f"tagged:{TAG}")["history"]
    layers = [each["layer"]["digest"] for each in history if not each.get("empty_layer")]
    assert layers == [layer.digest for layer in image.layers]
    readers.run("umoci", "unpack", "--rootless", "--image", f"tagged:{TAG}", "bundle")
    bundle = readers.work / "bundle"
    process = json.loads((bundle / "config.json").read_bytes())["process"]
    assert process["args"] == ["/usr/bin/busybox", "sleep", "600"]
    assert (process["user"]["uid"], process["user"]["gid"]) == (1000, 1000)
    assert "GREETING=hello world" in process["env"]
    assert process["cwd"] == "/srv"
    entries = _mtree(next(bundle.glob("sha256_*.mtree")).read_text())
    assert entries["srv/data"] >= {"type=dir", "mode=0750"}
    assert entries["srv/secret"] >= {"type=file", "mode=0640"}
    assert entries["srv/link"] >= {"type=link", "link=data"}
    assert entries["tmp"] >= {"mode=01777"}
    assert entries["usr/bin/busybox"] >= {"mode=0755"}
    # Without root umoci notes owners beside the files, as rootlesscontainers.proto says: field 1 is
    # the user, field 2 the group, and all bits set stand for root, who owns what is unpacked.
    owners = {
        path: os.getxattr(bundle / "rootfs" / path, "user.rootlesscontainers")
        for path in ("srv/data", "srv/secret")
    }
    assert owners == {
        "srv/data": b"\x08\xe8\x07\x10\xe9\x07",
        "srv/secret": b"\x08\xff\xff\xff\xff\x0f\x10\xe9\x07",
    }


def test_podman_loads_an_image_with_its_healthcheck(podman: Readers) -> None:
    image = read_layout(podman.work / "image_healthy")
    podman.run("podman", "load", "-q", "-i", "docker.tar")
    (seen,) = podman.read("podman", "image", "inspect", "readers.example/app:docker")
    assert f"sha256:{seen['Id']}" == _config_digest(image)
    assert seen["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers]
    assert seen["ManifestType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert seen["Healthcheck"] == {
        "Test": ["CMD", "/usr/bin/busybox", "test", "-d", "/srv/data"],
        "Interval": 30_000_000_000,
        "Timeout": 5_000_000_000,
        "StartPeriod": 10_000_000_000,
        "Retries": 2,
    }
    config = seen["Config"]
    assert config["StopSignal"] == "SIGKILL"
    assert (config["User"], config["WorkingDir"]) == ("1000:1000", "/srv")
    assert config["ExposedPorts"] == {"8000/tcp": {}}


def test_podman_loads_an_oci_archive(podman: Readers) -> None:
    image = read_layout(podman.work / "image")
    podman.run("podman", "load", "-q", "-i", "oci.tar")
    (seen,) = podman.read("podman", "image", "inspect", "readers.example/app:oci")
    assert (seen["Digest"], f"sha256:{seen['Id']}") == (image.digest, _config_digest(image))


def test_podman_sees_the_files(podman: Readers) -> None:
    podman.run("podman", "load", "-q", "-i", "docker.tar")
    root = podman.run("podman", "image", "mount", "readers.example/app:docker").strip()
    busybox = f"{root}/usr/bin/busybox"
    listing = podman.run(busybox, "ls", "-ln", f"{root}/srv")
    assert "link -> data" in listing
    assert "drwxr-x---" in listing
    assert podman.run(busybox, "cat", f"{root}/srv/secret").startswith("root:x:0:0")


def _push(layout: Path, server: Server, name: str) -> None:
    flags = ["--layout", str(layout), "--repository", f"{server.host}/{name}", "--tag", TAG]
    assert push.main(flags) == 0


def _mtree(text: str) -> dict[str, set[str]]:
    """The entries of a file in mtree(5), by path; keywords that `/set` gave are filled in."""
    entries: dict[str, set[str]] = {}
    path: list[str] = []
    common: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "..":
            path.pop()
            continue
        own = dict(word.partition("=")[::2] for word in words[1:])
        if words[0] == "/set":
            common = own
            continue
        name = [*path, words[0]]
        members = {**common, **own}
        entries["/".join(name[1:])] = {f"{key}={value}" for key, value in members.items()}
        if members.get("type") == "dir":
            path = name
    return entries

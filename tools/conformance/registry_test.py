"""What we push, other people's clients read, copy and validate: the index, its images, referrers.

INDEX is the layout, SBOM a file to attach to its image for amd64.
"""

from __future__ import annotations

import json
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.conformance.programs_for_test import Programs, programs
from tools.image.layout import Image, Layout, blob_path, open_layout, read_children, read_image
from tools.image.unpack import scan
from tools.registry import attach, push
from tools.registry.registry_for_test import Server, running

SPDX = "application/spdx+json"
PLATFORM = "linux/amd64"
KINDS = {tarfile.REGTYPE: "file", tarfile.LNKTYPE: "file", tarfile.SYMTYPE: "symlink"}


@dataclass(frozen=True)
class Pushed:
    """The index in a registry, and the programs that read it there."""

    here: Programs
    server: Server
    layout: Layout
    image: Image  # For amd64.

    @property
    def reference(self) -> str:
        """Of the index, by its tag."""
        return f"{self.server.host}/backend:tested"

    @property
    def image_reference(self) -> str:
        """Of the image for amd64, by its digest."""
        return f"{self.server.host}/backend@{self.image.digest}"

    @property
    def root(self) -> bytes:
        """The index's own bytes."""
        return blob_path(self.layout.path, self.layout.root.digest).read_bytes()


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    here = programs(tmp_path_factory.mktemp("programs"))
    path = Path(os.environ["INDEX"])
    layout = open_layout(path)
    images = [read_image(layout, child) for child in read_children(layout, layout.root)]
    (image,) = (each for each in images if each.config["architecture"] == "amd64")
    with running(tmp_path_factory.mktemp("registry")) as server:
        repository = f"{server.host}/backend"
        target = ["--layout", str(path), "--repository", repository]
        assert push.main([*target, "--tag=tested"]) == 0
        artifact = [f"--artifact={os.environ['SBOM']}", f"--artifact-type={SPDX}"]
        assert attach.main([*target, *artifact, f"--platform={PLATFORM}"]) == 0
        yield Pushed(here, server, layout, image)


def test_crane_validates_the_index_and_its_images(pushed: Pushed) -> None:
    crane = pushed.here.run
    assert crane("crane", "digest", pushed.reference).strip() == pushed.layout.root.digest
    assert crane("crane", "manifest", pushed.reference).encode() == pushed.root
    # Every byte of one image; of the index that all is there, since oras reads the rest.
    assert "PASS" in pushed.here.output("crane", "validate", "--remote", pushed.image_reference)
    assert "PASS" in pushed.here.output("crane", "validate", "--fast", "--remote", pushed.reference)
    platform = f"--platform={PLATFORM}"
    config = pushed.here.read("crane", "config", platform, pushed.reference)
    assert config == pushed.image.config


def test_crane_exports_the_files_that_we_see(pushed: Pushed) -> None:
    pushed.here.run("crane", "export", pushed.image_reference, "export.tar")
    with tarfile.open(pushed.here.work / "export.tar") as tar:
        exported = {
            "/" + member.name.strip("./"): (
                KINDS.get(member.type, "dir"),
                stat.S_IMODE(member.mode),
                (member.uid, member.gid),
            )
            for member in tar
        }
    seen = {
        path: (entry.kind, stat.S_IMODE(entry.mode), (entry.uid, entry.gid))
        for path, entry in scan(pushed.image.layers).entries()
        if path in exported or entry.kind != "dir"
    }
    assert len(exported) > 1000
    assert exported == seen


def test_oras_finds_and_copies_the_referrers(pushed: Pushed) -> None:
    here = pushed.here
    found = here.read("oras", "discover", "--plain-http", "--format=json", pushed.image_reference)
    (referrer,) = found["referrers"]
    assert referrer["artifactType"] == SPDX
    here.run("oras", "pull", "--plain-http", "--output=sbom", referrer["reference"])
    (attached,) = (path for path in (here.work / "sbom").rglob("*") if path.is_file())
    assert attached.read_bytes() == Path(os.environ["SBOM"]).read_bytes()
    here.run("oras", "cp", "-r", "--from-plain-http", "--to-oci-layout", pushed.reference, "copy:t")
    (tagged,) = _tagged(here.work / "copy", "t")
    assert tagged["digest"] == pushed.layout.root.digest
    for blob in pushed.layout.path.glob("blobs/sha256/*"):
        copy = here.work / "copy/blobs/sha256" / blob.name
        assert copy.stat().st_size == blob.stat().st_size
    assert (here.work / "copy/blobs" / referrer["digest"].replace(":", "/")).is_file()


def _tagged(layout: Path, tag: str) -> list[dict[str, Any]]:
    manifests = json.loads((layout / "index.json").read_bytes())["manifests"]
    name = "org.opencontainers.image.ref.name"
    return [each for each in manifests if each.get("annotations", {}).get(name) == tag]


def test_skopeo_copies_every_image_and_keeps_the_digests(pushed: Pushed) -> None:
    here = pushed.here
    source = f"docker://{pushed.reference}"
    assert here.run("skopeo", "inspect", "--raw", "--tls-verify=false", source).encode() == (
        pushed.root
    )
    assert (
        "tested"
        in here.read("skopeo", "list-tags", "--tls-verify=false", source.removesuffix(":tested"))[
            "Tags"
        ]
    )
    flags = ["-q", "--all", "--preserve-digests", "--src-tls-verify=false"]
    here.run("skopeo", "copy", *flags, source, "dir:all")
    assert (here.work / "all/manifest.json").read_bytes() == pushed.root
    for layer in pushed.image.layers:
        assert (here.work / "all" / layer.digest.removeprefix("sha256:")).is_file()


def test_podman_pulls_and_runs_it(pushed: Pushed) -> None:
    here = pushed.here
    flags = ["-q", "--tls-verify=false", f"--platform={PLATFORM}"]
    found = here.run("podman", "pull", *flags, pushed.reference).strip()
    assert f"sha256:{found}" == pushed.image.manifest["config"]["digest"]
    (inspected,) = here.read("podman", "image", "inspect", found)
    assert inspected["RootFS"]["Layers"] == [layer.diff_id for layer in pushed.image.layers]
    assert inspected["Healthcheck"]["Test"] == pushed.image.config["config"]["Healthcheck"]["Test"]
    script = "import os, cv2, main; print(os.getuid(), os.getgid(), os.getcwd())"
    assert here.run("podman", "run", "--rm", found, "python3", "-c", script) == "1000 1000 /app\n"


def test_umoci_unpacks_it(pushed: Pushed) -> None:
    here = pushed.here
    # umoci reads OCI's media types alone, and ours are Docker's, for the healthcheck.
    source = f"docker://{pushed.image_reference}"
    here.run("skopeo", "copy", "-q", "--src-tls-verify=false", source, "oci:converted:t")
    here.run("umoci", "unpack", "--rootless", "--image=converted:t", "bundle")
    bundle = here.work / "bundle"
    process = json.loads((bundle / "config.json").read_bytes())["process"]
    assert process["args"] == pushed.image.config["config"]["Cmd"]
    assert (process["user"]["uid"], process["user"]["gid"]) == (1000, 1000)
    assert process["cwd"] == "/app"
    missing = [
        path
        for path, entry in scan(pushed.image.layers).entries()
        if entry.kind == "file" and not (bundle / "rootfs" / path[1:]).is_file()
    ]
    assert missing == []

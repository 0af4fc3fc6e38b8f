"""Archives for container engines: their content, their determinism, and how engines are called."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
from pathlib import Path

import pytest

from tools.image import layouts_for_test as make
from tools.image.layout import read_layout
from tools.oci import index, load

TARS = [make.tar_bytes({"a": b"a"}), make.tar_bytes({"b": b"b"}), make.tar_bytes({"a": b"a"})]
# Stands for an engine without any image: keeps what it was given and says how it was called.
_ENGINE = """#!/bin/sh
case $1 in image|pull) echo "no $1" >&2; exit 125 ;; esac
echo "$@" > {directory}/arguments
if [ "${{2:-}}" = --input ]; then /bin/cat "$3"; else /bin/cat; fi > {directory}/loaded.tar
exit {code}
"""


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    make.make_layout(tmp_path / "image", layers=TARS)
    (tmp_path / "tags.txt").write_text("app:one\n\nhost/app:two\napp:one\n")
    return tmp_path / "image"


def _engine(tmp_path: Path, name: str, *, code: int = 0) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(_ENGINE.format(directory=tmp_path, code=code))
    program.chmod(0o755)
    return program


def _flags(layout: Path, *arguments: str) -> list[str]:
    tags = layout.parent / "tags.txt"
    return ["--layout", str(layout), "--repo-tags", str(tags), *arguments]


def _archive(layout: Path, *arguments: str) -> tarfile.TarFile:
    output = layout.parent / "out.tar"
    assert load.main(_flags(layout, "--output", str(output), *arguments)) == 0
    return tarfile.open(fileobj=io.BytesIO(output.read_bytes()))


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    assert member is not None
    return member.read()


def test_a_docker_archive_holds_the_image_and_no_oci_layout(layout: Path) -> None:
    tar = _archive(layout)
    image = read_layout(layout)
    layers = [f"blobs/sha256/{each.digest[7:]}.tar.gz" for each in image.layers]
    config = f"blobs/sha256/{image.manifest['config']['digest'][7:]}"
    (manifest,) = json.loads(_read(tar, "manifest.json"))
    assert manifest == {
        "Config": config,
        "Layers": layers,
        "RepoTags": ["app:one", "host/app:two"],
    }
    # The first and the third layer are one file.
    assert tar.getnames() == ["manifest.json", config, *layers[:2]]
    assert json.loads(_read(tar, config)) == image.config
    for layer, name in zip(image.layers, layers, strict=True):
        assert make.digest_of(_read(tar, name)) == layer.digest


def test_every_member_has_the_same_owner_mode_and_time(layout: Path) -> None:
    seen = {
        (member.uid, member.gid, member.uname, member.gname, member.mode, member.mtime)
        for member in _archive(layout).getmembers()
    }
    assert seen == {(0, 0, "", "", 0o755, 1672560000)}


def test_an_oci_archive_names_its_image(layout: Path) -> None:
    tar = _archive(layout, "--format=oci")
    document = json.loads(_read(tar, "index.json"))
    names = [each["annotations"]["io.containerd.image.name"] for each in document["manifests"]]
    assert names == ["app:one", "host/app:two"]
    digests = {each["digest"] for each in document["manifests"]}
    assert digests == {read_layout(layout).digest}
    for name in tar.getnames():
        if name.startswith("blobs/"):
            assert make.digest_of(_read(tar, name)) == "sha256:" + Path(name).name


def test_an_index_goes_into_an_oci_archive_only(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output", str(tmp_path / "all"), "--digest-output", str(tmp_path / "digest")]
    assert index.main(["--image", str(layout), *out, "--label", "//x:y"]) == 0
    # The index, its manifest, the config and two layers that differ.
    names = _archive(tmp_path / "all", "--format=oci").getnames()
    assert len([name for name in names if name.startswith("blobs/")]) == 5
    assert load.main(_flags(tmp_path / "all", "--output", str(tmp_path / "x.tar"))) == 1
    assert "all: is an image index, and a docker-archive holds images" in capsys.readouterr().err


def test_the_first_engine_on_the_path_reads_the_stream(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nerdctl", "podman"):
        _engine(tmp_path, name)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert Path(load.choose_engine(os.environ)).name == "podman"
    assert load.main(_flags(layout)) == 0
    assert (tmp_path / "arguments").read_text() == "load\n"
    output = tmp_path / "written.tar"
    assert load.main(_flags(layout, "--output", str(output))) == 0
    assert (tmp_path / "loaded.tar").read_bytes() == output.read_bytes()


def test_an_engine_whose_daemon_is_down_is_skipped(
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    docker, podman = (_engine(tmp_path, name) for name in ("docker", "podman"))
    docker.write_text("#!/bin/sh\necho 'WARNING: x' >&2\necho 'no daemon at sock' >&2\nexit 1\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert load.main(_flags(layout)) == 0
    assert (tmp_path / "arguments").read_text() == "load\n"
    assert capsys.readouterr().err == (
        f"skipped {docker}: no daemon at sock\nloading into {podman}\n"
        "podman cannot pull from a directory (exit code 125); loading the whole image\n"
    )
    podman.write_text("#!/bin/sh\nexit 3\n")
    assert load.main(_flags(layout)) == 1
    assert capsys.readouterr().err == (
        "oci_load: no container engine works; start one, or set the attribute 'loader'. "
        f"{docker}: no daemon at sock; {podman}: 'info' failed with exit code 3\n"
    )


# Stands for a Docker with an image: says which layers it has, and takes an archive of any others.
_DOCKER = """#!/bin/sh
case $1 in
image) echo "No such image: host/app:two" >&2; echo null; echo '{layers}'; exit 1 ;;
*) /bin/cat > {directory}/loaded.tar; exit {code} ;;
esac
"""


def _docker_with(layers: list[str], tmp_path: Path, *, code: int = 0) -> None:
    program = _engine(tmp_path, "docker")
    script = _DOCKER.format(layers=json.dumps(layers), directory=tmp_path, code=code)
    program.write_text(script)


@pytest.mark.parametrize(("shared", "sent"), [(0, [0, 1]), (1, [1, 0]), (2, [0]), (3, [])])
def test_docker_is_sent_the_layers_after_those_it_has(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: int, sent: list[int]
) -> None:
    layers = read_layout(layout).layers
    has = [layer.diff_id for layer in layers[:shared]] + ["sha256:other", layers[1].diff_id]
    _docker_with(has, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert load.main(_flags(layout)) == 0
    with tarfile.open(tmp_path / "loaded.tar") as tar:
        # The first and the third layer are one file, which is sent if either is lacking.
        files = [f"blobs/sha256/{layers[each].digest[7:]}.tar.gz" for each in sent]
        assert tar.getnames()[2:] == files
        (manifest,) = json.loads(_read(tar, "manifest.json"))
        assert len(manifest["Layers"]) == 3


def test_a_docker_that_needs_every_layer_is_sent_them(
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _docker_with([read_layout(layout).layers[0].diff_id], tmp_path, code=5)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert load.main(_flags(layout)) == 5
    assert capsys.readouterr().err == (
        "docker did not take the missing layers alone (exit code 5); loading the whole image\n"
    )
    with tarfile.open(tmp_path / "loaded.tar") as tar:
        assert len(tar.getnames()) == 4


def test_other_engines_and_formats_are_given_the_whole_image(
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nerdctl = _engine(tmp_path, "nerdctl")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert load.main(_flags(layout)) == 0
    assert load.main(_flags(layout, "--format=oci")) == 0
    nerdctl.rename(nerdctl.with_name("podman"))
    healthcheck = {"config": {"Healthcheck": {"Test": ["NONE"]}}}
    make.make_layout(tmp_path / "image", layers=TARS, config_extra=healthcheck)
    assert load.main(_flags(layout)) == 0
    assert capsys.readouterr().err == (
        "nerdctl does not tell which layers it has; loading the whole image\n"
        "an archive with format = 'oci' holds every layer; loading the whole image\n"
        "podman drops a healthcheck from an image with OCI media types; loading the whole image\n"
    )


def test_a_loader_is_given_a_file_that_is_removed_afterwards(layout: Path, tmp_path: Path) -> None:
    assert load.main(_flags(layout, "--loader", str(_engine(tmp_path, "mine")))) == 0
    words = (tmp_path / "arguments").read_text().split()
    assert words[:2] == ["load", "--input"]
    assert not Path(words[2]).exists()
    with tarfile.open(tmp_path / "loaded.tar") as tar:
        assert "manifest.json" in tar.getnames()


def test_the_engines_exit_code_is_passed_on(layout: Path, tmp_path: Path) -> None:
    assert load.main(_flags(layout, "--loader", str(_engine(tmp_path, "mine", code=7)))) == 7


@pytest.mark.parametrize(
    ("code", "ends", "message"),
    [(3, 3, ""), (0, 1, "stopped reading the image and still reported success")],
)
def test_an_engine_that_gives_up_fails_the_load(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    ends: int,
    message: str,
) -> None:
    program = _engine(tmp_path, "docker")
    program.write_text(f"#!/bin/sh\nexit {code}\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    # More than a pipe holds, so that the writer notices.
    noise = random.Random(1).randbytes(1 << 20)
    make.make_layout(tmp_path / "big", layers=[make.tar_bytes({"noise": noise})])
    (tmp_path / "tags.txt").write_text("app:one\n")
    assert load.main(_flags(tmp_path / "big")) == ends
    assert message in capsys.readouterr().err


def test_without_an_engine_the_error_says_what_to_do(
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load.main(_flags(layout)) == 1
    assert capsys.readouterr().err == (
        "oci_load: none of docker, podman, nerdctl is on PATH; install one, "
        "or set the attribute 'loader'\n"
    )


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("H/Zero:1", "image name 'H/Zero:1': 'Zero' must be lower-case letters and digits"),
        ("h/zero", "image name 'h/zero' has no tag; write 'h/zero:latest', for instance"),
    ],
)
def test_a_name_that_engines_refuse_is_an_error_before_anything_is_loaded(
    layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, cause: str
) -> None:
    tags, output = tmp_path / "tags.txt", tmp_path / "out.tar"
    tags.write_text(f"good:1\n{name}\n")
    flags = ["--layout", str(layout), "--repo-tags", str(tags), "--output", str(output)]
    assert load.main(flags) == 1
    assert capsys.readouterr().err.startswith(f"oci_load: {cause}")
    assert not output.exists()


def test_without_an_image_the_missing_flags_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert load.main([]) == 1
    assert capsys.readouterr().err == (
        "oci_load: no image to load; pass --layout and --repo-tags\n"
    )

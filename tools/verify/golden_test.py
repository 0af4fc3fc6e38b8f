"""The digests beside the locks, and what is said of a layer that is another one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tools.image.layout import read_layout
from tools.verify import golden
from tools.verify.service_for_test import (
    LIBRARY,
    MODULE,
    Images,
    Members,
    build,
    replant,
    setting,
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return build(tmp_path_factory.mktemp("images") / "checkout")


@pytest.fixture
def written(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, as --write makes it of both architectures."""
    monkeypatch.delenv("BUILD_WORKSPACE_DIRECTORY", raising=False)
    assert golden.main([*flags(tmp_path, images.amd64, images.arm64), "--write"]) == 0
    return tmp_path / "golden.json"


def flags(folder: Path, *layouts: Path) -> list[str]:
    policy = folder / "policy.json"
    if not policy.exists():
        policy.write_text("{}")
    return [
        *("--golden", str(folder / "golden.json"), "--policy", str(policy), "--without", "app"),
        *(text for layout in layouts for text in ("--image", str(layout))),
    ]


def compare(folder: Path, *layouts: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = golden.main([*flags(folder, *layouts), "--command", "bazel run //:golden"])
    return code, capsys.readouterr().err


def test_what_was_written_is_found_again_in_both_architectures(
    images: Images, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(written.parent, images.amd64, images.arm64, capsys=capsys) == (0, "")
    document = json.loads(written.read_text())
    assert sorted(document["architectures"]) == ["amd64", "arm64"]
    for architecture in document["architectures"].values():
        assert "app" not in architecture
        for layer in architecture.values():
            assert len("".join(layer["chain"])) == 2 * layer["members"] > 0
    by_name = document["architectures"]["amd64"]
    assert {layer["digest"] for layer in by_name.values()} < {
        layer.digest for layer in read_layout(images.amd64).layers
    }


def test_a_layer_is_left_out_with_its_parts(
    images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = len(read_layout(images.amd64).layers)
    names = ["happ", "analysis app", "app", *"abcdef"][:count]
    monkeypatch.setattr(golden, "layer_names", lambda _image: names)
    built = golden.built_layers([images.amd64], ["app"])["amd64"]
    assert sorted(built) == sorted(set(names) - {"analysis app", "app"})


def test_a_changed_member_is_named_with_its_layer_and_the_command(
    images: Images, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = replant(images.amd64, tmp_path / "other", layers={0: setting(LIBRARY, mode=0o600)})
    code, said = compare(written.parent, other, images.arm64, capsys=capsys)
    assert code == 1
    assert f"the first path that differs is /{LIBRARY.lstrip('/')}," in said
    assert "amd64, layer " in said
    assert said.endswith("golden: if that is wanted, run bazel run //:golden\n")


def test_a_member_missing_at_the_end_or_before_is_told(
    images: Images, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_last(members: Members) -> Members:
        return members[:-1]

    def without_second(members: Members) -> Members:
        return [members[0], *members[2:]]

    for change, words in (
        (without_last, "1 paths are missing after /"),
        (without_second, "missing before"),
    ):
        other = replant(images.amd64, tmp_path / change.__name__, layers={0: change})
        code, said = compare(written.parent, other, images.arm64, capsys=capsys)
        assert code == 1
        assert words in said


def test_another_compression_is_no_other_content(
    images: Images, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = read_layout(images.amd64).layers[0]
    document = json.loads(written.read_text())
    for recorded in document["architectures"]["amd64"].values():
        if recorded["digest"] == layer.digest:
            recorded["digest"] = "sha256:" + "0" * 64
    assert gzip.decompress(layer.path.read_bytes())
    written.write_text(json.dumps(document))
    code, said = compare(written.parent, images.amd64, images.arm64, capsys=capsys)
    assert code == 1
    assert "the content is the same, its compression differs" in said


def test_policy_missing_and_new_layers_are_told(
    images: Images, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (written.parent / "policy.json").write_text('{"mtime": 1}')
    document = json.loads(written.read_text())
    layers = document["architectures"]["amd64"]
    layers["gone"] = layers.pop(next(iter(layers)))
    written.write_text(json.dumps(document))
    code, said = compare(written.parent, images.amd64, images.arm64, capsys=capsys)
    assert code == 1
    assert "layer policy: sha256:" in said
    assert "layer gone: is golden, but no image has it" in said
    assert "is in an image, but not golden" in said


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "other/1"}'])
def test_another_file_is_refused(
    images: Images, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "golden.json").write_text(content)
    code, said = compare(tmp_path, images.amd64, capsys=capsys)
    assert code == 2
    assert "golden_layers/1" in said
    assert MODULE not in said

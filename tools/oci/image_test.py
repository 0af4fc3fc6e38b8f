"""The image tool from flags to layout: every setting, bases, history, links, determinism."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools.image import layouts_for_test as make
from tools.image.layout import Image, read_layout, verify_layers
from tools.oci import descriptor, image

TAR = make.tar_bytes({"app/main.py": b"print()\n"})
OTHER_TAR = make.tar_bytes({"etc/motd": b"hi\n"})
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
SCRATCH = ["--os", "linux", "--architecture", "arm64"]


def _layer(directory: Path, name: str, data: bytes) -> list[str]:
    directory.mkdir(parents=True, exist_ok=True)
    tar, about = directory / name, directory / f"{name}.json"
    tar.write_bytes(data)
    arguments = ["--label", "//x:y", "--layer", str(tar), "--output", str(about)]
    assert descriptor.main(arguments) == 0
    return ["--layer", f"//x:{name}", str(tar), str(about)]


def _flag(directory: Path, name: str, text: str) -> str:
    file = directory / f"{name}.txt"
    file.write_text(text)
    return f"--{name}={file}"


def _run(directory: Path, *arguments: str) -> int:
    out = ["--output", str(directory / "out"), "--digest-output", str(directory / "digest")]
    return image.main([*out, "--label", "//x:y", *arguments])


def _build(directory: Path, *arguments: str) -> Image:
    assert _run(directory, *arguments) == 0
    return read_layout(directory / "out")


def test_an_image_from_scratch_has_every_edit(tmp_path: Path) -> None:
    found = _build(
        tmp_path,
        *SCRATCH,
        "--variant=v8",
        *_layer(tmp_path, "app.tar.gz", make.gzip_bytes(TAR)),
        *_layer(tmp_path, "etc.tar", OTHER_TAR),
        _flag(tmp_path, "entrypoint", "/init\n--flag\n"),
        _flag(tmp_path, "cmd", "a\n\n"),
        _flag(tmp_path, "env", "A=1\nB=$A:2\n"),
        _flag(tmp_path, "labels", "l=1=2\n"),
        _flag(tmp_path, "annotations", "n=v\n"),
        _flag(tmp_path, "exposed-ports", "80/tcp,53/udp"),
        _flag(tmp_path, "volumes", "/data"),
        _flag(tmp_path, "created", "2024-01-01T00:00:00Z\n"),
        "--user=1000:1000",
        "--workdir=/app",
    )
    assert found.config == {
        "architecture": "arm64",
        "config": {
            "Cmd": ["a", ""],
            "Entrypoint": ["/init", "--flag"],
            "Env": ["A=1", "B=1:2"],
            "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
            "Labels": {"l": "1=2"},
            "User": "1000:1000",
            "Volumes": {"/data": {}},
            "WorkingDir": "/app",
        },
        "created": "2024-01-01T00:00:00Z",
        "history": [
            {"created": "1970-01-01T00:00:00Z", "created_by": "bazel build //x:app.tar.gz"},
            {"created": "1970-01-01T00:00:00Z", "created_by": "bazel build //x:etc.tar"},
        ],
        "os": "linux",
        "rootfs": {
            "diff_ids": [make.digest_of(TAR), make.digest_of(OTHER_TAR)],
            "type": "layers",
        },
        "variant": "v8",
    }
    assert found.manifest["annotations"] == {"n": "v"}
    assert found.manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
    assert [layer.media_type for layer in found.layers] == [
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar",
    ]
    verify_layers(found)


def test_documents_are_canonical_and_digests_true(tmp_path: Path) -> None:
    found = _build(tmp_path, *SCRATCH, *_layer(tmp_path, "a.tar", TAR))
    out = tmp_path / "out"
    documents = {
        found.digest: found.manifest,
        found.manifest["config"]["digest"]: found.config,
    }
    for digest, value in documents.items():
        data = (out / "blobs" / digest.replace(":", "/")).read_bytes()
        assert make.digest_of(data) == digest
        assert data == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    assert (tmp_path / "digest").read_text() == f"{found.digest}\n"
    assert found.config["created"] == "1970-01-01T00:00:00Z"
    index = json.loads((out / "index.json").read_text())
    assert "annotations" not in index["manifests"][0]


def test_layers_are_relative_links_and_nothing_else_is_written(tmp_path: Path) -> None:
    found = _build(tmp_path, *SCRATCH, *_layer(tmp_path / "layers", "a.tar", TAR))
    blob = found.layers[0].path
    assert str(blob.readlink()) == "../../../layers/a.tar"
    assert len(list((tmp_path / "out" / "blobs" / "sha256").iterdir())) == 3


def test_the_same_inputs_give_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        layer = _layer(tmp_path / name, "a.tar", TAR)
        text = "b=1\na=2\n" if name == "one" else "a=2\nb=1\n"
        labels = _flag(tmp_path / name, "labels", text)
        digests.add(_build(tmp_path / name, *SCRATCH, *layer, labels).digest)
    assert len(digests) == 1


@pytest.mark.parametrize("media_type", [make.OCI_MANIFEST, DOCKER])
def test_a_base_keeps_its_media_types_layers_and_config(tmp_path: Path, media_type: str) -> None:
    base = tmp_path / "base"
    config: dict[str, Any] = {
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"], "Healthcheck": {"Test": ["CMD", "true"]}},
        "created": "2020-01-01T00:00:00Z",
        "history": [{"created_by": "FROM x"}, {"created_by": "ENV", "empty_layer": True}],
        "variant": "v8",
    }
    extra = {"annotations": {"kept": "1"}, "subject": {"of": "another image"}}
    make.make_layout(
        base, layers=[OTHER_TAR], media_type=media_type, config_extra=config, manifest_extra=extra
    )
    before = read_layout(base)
    found = _build(
        tmp_path,
        f"--base={base}",
        *_layer(tmp_path, "a.tar.gz", make.gzip_bytes(TAR)),
        _flag(tmp_path, "env", "PATH=/app:$PATH\n"),
        _flag(tmp_path, "annotations", "new=2\n"),
    )
    assert found.media_type == media_type
    assert found.manifest["annotations"] == {"kept": "1", "new": "2"}
    assert "subject" not in found.manifest
    assert found.manifest["config"]["mediaType"] == before.manifest["config"]["mediaType"]
    assert found.manifest["layers"][0] == before.manifest["layers"][0]
    assert {layer.media_type for layer in found.layers} == {before.layers[0].media_type}
    assert found.config["config"] == {**config["config"], "Env": ["PATH=/app:/bin"]}
    assert (found.config["created"], found.config["variant"]) == (config["created"], "v8")
    assert found.config["history"] == [
        *config["history"],
        {"created": "1970-01-01T00:00:00Z", "created_by": "bazel build //x:a.tar.gz"},
    ]
    assert str(found.layers[0].path.readlink()).startswith("../../../base/blobs/sha256/")
    verify_layers(found)


def test_a_history_that_leaves_layers_out_is_completed(tmp_path: Path) -> None:
    make.make_layout(tmp_path / "base", layers=[OTHER_TAR, TAR])
    found = _build(tmp_path, f"--base={tmp_path / 'base'}", *_layer(tmp_path, "a.tar", TAR))
    assert [entry["created_by"] for entry in found.config["history"]] == [
        "layer of the base image",
        "layer of the base image",
        "bazel build //x:a.tar",
    ]


def test_an_image_without_layers_has_a_history_without_entries(tmp_path: Path) -> None:
    assert _build(tmp_path, *SCRATCH).config["history"] == []


def test_one_layer_may_occur_twice(tmp_path: Path) -> None:
    layer = _layer(tmp_path, "a.tar", TAR)
    copy = _layer(tmp_path, "b.tar", TAR)
    found = _build(tmp_path, *SCRATCH, *layer, *copy)
    assert len(found.layers) == 2
    assert found.layers[0] == found.layers[1]


def _index(tmp_path: Path) -> list[str]:
    base = tmp_path / "base"
    make.make_layout(base, layers=[TAR])
    child = json.loads((base / "index.json").read_text())["manifests"][0]
    media_type = "application/vnd.oci.image.index.v1+json"
    digest, size = make.put_json(
        base, {"schemaVersion": 2, "mediaType": media_type, "manifests": [child]}
    )
    make.finish_layout(base, {"mediaType": media_type, "digest": digest, "size": size})
    return [f"--base={base}"]


def _changed_layer(tmp_path: Path) -> list[str]:
    layer = _layer(tmp_path, "a.tar", TAR)
    Path(layer[2]).write_bytes(TAR * 2)
    return [*SCRATCH, *layer]


def _missing_layer(tmp_path: Path) -> list[str]:
    layer = _layer(tmp_path, "a.tar", TAR)
    Path(layer[2]).unlink()
    return [*SCRATCH, *layer]


def _latin1(tmp_path: Path, name: str) -> str:
    flag = _flag(tmp_path, name, "")
    (tmp_path / f"{name}.txt").write_bytes(b"A=caf\xe9\n")
    return flag


def _base(tmp_path: Path, **config: Any) -> list[str]:
    make.make_layout(tmp_path / "base", layers=[TAR], config_extra=config)
    return [f"--base={tmp_path / 'base'}"]


def test_line_ends_of_windows_are_line_ends(tmp_path: Path) -> None:
    (tmp_path / "cmd.txt").write_bytes(b"a\r\n\r\nb\r\n")
    (tmp_path / "env.txt").write_bytes(b"A=x\r\n\r\nB=y\r\n")
    found = _build(tmp_path, *SCRATCH, f"--cmd={tmp_path}/cmd.txt", f"--env={tmp_path}/env.txt")
    assert found.config["config"] == {"Cmd": ["a", "", "b"], "Env": ["A=x", "B=y"]}


def test_a_carriage_return_is_kept(tmp_path: Path) -> None:
    for name, text in (("cmd", b"a\rb\n"), ("env", b"A=x\rB=y\n"), ("labels", b"l=\r1\r\n")):
        (tmp_path / f"{name}.txt").write_bytes(text)
    flags = [f"--{name}={tmp_path}/{name}.txt" for name in ("cmd", "env", "labels")]
    assert _build(tmp_path, *SCRATCH, *flags).config["config"] == {
        "Cmd": ["a\rb"],
        "Env": ["A=x\rB=y"],
        "Labels": {"l": "\r1"},
    }


def test_a_base_with_half_a_surrogate_pair_in_a_label_can_be_built_on(tmp_path: Path) -> None:
    flags = _base(tmp_path, config={"Labels": {"l": "\ud800"}})
    assert _build(tmp_path, *flags).config["config"]["Labels"] == {"l": "\ufffd"}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_index, r"base: is an image index .*pass the target of one platform"),
        (
            _changed_layer,
            "a.tar: layer has .* bytes, its descriptor says .*one of the two is out of date",
        ),
        (_missing_layer, "a.tar: layer cannot be read: No such file"),
        (lambda p: [*SCRATCH, _flag(p, "env", "X")], "env: line 1 must be 'key=value'"),
        (lambda p: [*SCRATCH, _flag(p, "created", "now")], "created: must be a time"),
        (lambda p: [*SCRATCH, _latin1(p, "env")], r"env\.txt: is not UTF-8: .* byte 0xe9"),
        (lambda p: [*SCRATCH, _latin1(p, "cmd")], r"cmd\.txt: is not UTF-8: .* byte 0xe9"),
        (lambda p: [*SCRATCH, "--user=\udce9"], "value cannot be written as JSON"),
        (lambda p: [*_base(p, config=[])], "member 'config' must be an object, found \\[\\]"),
        (
            lambda p: [*_base(p, config={"Env": [5]}), _flag(p, "env", "A=1")],
            r"member 'Env' must be a list of strings, found \[5\]",
        ),
        (
            lambda p: [*_base(p, history=["x"])],
            "member 'history' must be a list of objects, found \\['x'\\]",
        ),
        (lambda p: [f"--base={p / 'none'}"], "none: an OCI layout directory is needed"),
    ],
)
def test_a_failure_names_the_target_and_the_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: Any, message: str
) -> None:
    assert _run(tmp_path, *prepare(tmp_path)) == 1
    error = capsys.readouterr().err
    assert error.startswith("oci_image: //x:y: ")
    assert re.search(message, error)

"""Provenance: what it says, that it is the same everywhere, and when it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.attest import provenance, statement_of
from tools.attest.signed_for_test import make_image
from tools.image.layout import open_layout
from tools.image.layouts_for_test import digest_of
from tools.oci import index
from tools.sbom.component import Component, write_components

DEB, WHEEL, SOURCE = b"a package", b"a wheel", b"print()"
COMMIT = "1234567890" * 4


def _component(ref: str, purl: str, content: bytes, **members: Any) -> Component:
    sha256 = digest_of(content).removeprefix("sha256:")
    return Component(ref=ref, name=ref, purl=purl, sha256=sha256, **members)


COMPONENTS = (
    _component("deb-a", "pkg:deb/debian/a@1", DEB),
    _component("pypi-b", "pkg:pypi/b@2", WHEEL),
    # Inside the wheel: not what an action reads.
    _component("pypi-b-bundled-c", "pkg:generic/c@3", b"c", parent="pypi-b"),
)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image", config_extra={"architecture": "arm64", "os": "linux"})


def _make(tmp_path: Path, layout: Path, **changes: Any) -> int:
    """Run the tool on files below `tmp_path`, as the rule does."""
    files = {
        "a.deb": (DEB, "@debian_a//:a.deb"),
        "b.whl": (WHEEL, "@pypi_b//:b.whl"),
        "main.py": (SOURCE, "//app:main.py"),
        "lock": (b"lock", "//:root.lock.json"),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    labels = {str(tmp_path / name): label for name, (_, label) in files.items()}
    lock = str(tmp_path / "lock")
    build = {
        "actions": ["OciImage", "DebLayer", "DebLayer"],
        "builder": "",
        "files": {path: label for path, label in labels.items() if path != lock},
        "locks": {lock: labels[lock]},
        "source": "",
        "target": "//app:image",
        **changes,
    }
    (tmp_path / "build.json").write_text(json.dumps(build))
    (tmp_path / "components.json").write_bytes(write_components(COMPONENTS))
    flags = ["--image", str(layout), "--build", str(tmp_path / "build.json")]
    flags += ["--components", str(tmp_path / "components.json")] * 2
    return provenance.main([*flags, "--out", str(tmp_path / "out.json")])


def _sha256(content: bytes) -> dict[str, str]:
    return {"sha256": digest_of(content).removeprefix("sha256:")}


def test_provenance_names_everything_that_was_read(tmp_path: Path, layout: Path) -> None:
    assert _make(tmp_path, layout) == 0
    digest = open_layout(layout).root.digest
    assert json.loads((tmp_path / "out.json").read_bytes()) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "//app:image", "digest": {"sha256": digest[7:]}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://pinned-image.example/bazel-image/v1",
                "externalParameters": {"platforms": ["linux/arm64"], "target": "//app:image"},
                "internalParameters": {"actions": {"DebLayer": 2, "OciImage": 1}},
                "resolvedDependencies": [
                    {"uri": "pkg:deb/debian/a@1", "name": "deb-a", "digest": _sha256(DEB)},
                    {"uri": "pkg:pypi/b@2", "name": "pypi-b", "digest": _sha256(WHEEL)},
                    {"name": "//:root.lock.json", "digest": _sha256(b"lock")},
                    {"name": "//app:main.py", "digest": _sha256(SOURCE)},
                ],
            },
            "runDetails": {"builder": {"id": "https://pinned-image.example/anyone"}},
        },
    }


def test_builder_and_source_are_in_it_where_asked(tmp_path: Path, layout: Path) -> None:
    source = f"git+https://x.example/app@{COMMIT}"
    assert _make(tmp_path, layout, builder="https://ci.example", source=source) == 0
    predicate = json.loads((tmp_path / "out.json").read_bytes())["predicate"]
    assert predicate["runDetails"] == {"builder": {"id": "https://ci.example"}}
    (first, *_) = predicate["buildDefinition"]["resolvedDependencies"]
    assert first == {"uri": source, "digest": {"gitCommit": COMMIT}}


def test_the_same_build_elsewhere_has_the_same_provenance(tmp_path: Path, layout: Path) -> None:
    assert _make(tmp_path, layout) == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert _make(elsewhere, layout, actions=["DebLayer", "OciImage", "DebLayer"]) == 0
    assert (elsewhere / "out.json").read_bytes() == (tmp_path / "out.json").read_bytes()


def test_an_index_names_its_images_and_their_platforms(tmp_path: Path, layout: Path) -> None:
    out = ["--output", str(tmp_path / "both"), "--digest-output", str(tmp_path / "digest")]
    assert index.main(["--image", str(layout), *out, "--label", "//x:y"]) == 0
    assert _make(tmp_path, tmp_path / "both") == 0
    statement = json.loads((tmp_path / "out.json").read_bytes())
    root, child = (open_layout(path).root.digest[7:] for path in (tmp_path / "both", layout))
    assert statement["subject"][0]["digest"] == {"sha256": root}
    predicate = statement["predicate"]
    assert predicate["runDetails"]["byproducts"] == [
        {"name": "linux/arm64", "digest": {"sha256": child}}
    ]
    assert predicate["buildDefinition"]["externalParameters"]["platforms"] == ["linux/arm64"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {}}, "deb-a is a component, but no action reads it"),
        ({"source": "main"}, "source 'main' must be a URI and a full commit hash"),
        ({"source": "git+https://x.example@1234"}, "must be a URI and a full commit hash"),
    ],
)
def test_a_build_that_does_not_fit_is_refused(
    tmp_path: Path,
    layout: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    message: str,
) -> None:
    assert _make(tmp_path, layout, **changes) == 1
    assert message in capsys.readouterr().err


def test_a_package_that_is_no_component_is_refused(
    tmp_path: Path, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.deb").write_bytes(b"x")
    assert _make(tmp_path, layout, files={str(tmp_path / "x.deb"): "@x//:x.deb"}) == 1
    assert "//app:image: @x//:x.deb is read by an action, but is no component" in (
        capsys.readouterr().err
    )


def test_a_document_becomes_a_statement_about_the_image(
    tmp_path: Path, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')
    flags = ["--image", str(layout), "--type", "spdxjson", "--name", "//app:image"]
    paths = ["--predicate", str(tmp_path / "sbom.json"), "--out", str(tmp_path / "out.json")]
    assert statement_of.main([*flags, *paths]) == 0
    statement = json.loads((tmp_path / "out.json").read_bytes())
    assert statement["predicateType"] == "https://spdx.dev/Document"
    assert statement["predicate"] == {"spdxVersion": "SPDX-2.3"}
    (tmp_path / "sbom.json").write_text("[]")
    assert statement_of.main([*flags, *paths]) == 1
    assert "must be a JSON object, found list" in capsys.readouterr().err

"""Artifacts that refer to a pushed image: in a real registry, which keeps no list of them itself,
and in one that does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.image import layouts_for_test as make
from tools.image.layout import open_layout, read_layout
from tools.oci import index
from tools.registry import attach, push
from tools.registry.proxy_for_test import Fault, Seen, proxying
from tools.registry.referrers import ReferrersError, fallback_tag, with_entry
from tools.registry.referrers_front_for_test import referrers_front
from tools.registry.registry_for_test import (
    PASSWORD,
    USER,
    Server,
    docker_config,
    running,
)

SPDX, CYCLONEDX = "application/spdx+json", "application/vnd.cyclonedx+json"
INDEX = "application/vnd.oci.image.index.v1+json"

pytestmark = pytest.mark.usefixtures("_short_waits")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    make.make_layout(tmp_path / "image", layers=[make.tar_bytes({"a": b"a"})])
    (tmp_path / "sbom.json").write_text('{"a": 1}\n')
    return tmp_path / "image"


def _push(layout: Path, repository: str, *flags: str) -> None:
    assert push.main(["--layout", str(layout), "--repository", repository, *flags]) == 0


def _attach(layout: Path, repository: str, *flags: str, kind: str = SPDX) -> int:
    artifact = layout.parent / "sbom.json"
    target = ["--layout", str(layout), f"--artifact={artifact}", f"--artifact-type={kind}"]
    return attach.main([*target, "--repository", repository, *flags])


def _listed(server: Server, name: str, layout: Path) -> list[dict[str, Any]]:
    """What the fallback tag of the layout's image lists."""
    digest = open_layout(layout).root.digest
    listed = server.manifest(name, "sha256-" + digest.removeprefix("sha256:"))
    assert listed is not None
    document = json.loads(listed)
    assert (document["schemaVersion"], document["mediaType"]) == (2, INDEX)
    entries: list[dict[str, Any]] = document["manifests"]
    return entries


def test_an_artifact_is_stored_and_listed_under_the_fallback_tag(
    server: Server, layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, refs = "fallback", tmp_path / "refs"
    _push(layout, f"{server.host}/{name}", "--tag=t")
    capsys.readouterr()
    flags = ["--annotation=b=2", "--annotation=a=1", f"--image-refs={refs}"]
    assert _attach(layout, f"{server.host}/{name}", *flags) == 0
    out, err = capsys.readouterr()
    reference, _, digest = out.strip().partition("@")
    assert (reference, refs.read_text()) == (f"{server.host}/{name}", out)
    image = read_layout(layout)
    content = (tmp_path / "sbom.json").read_bytes()
    manifest = json.loads(server.manifest(name, digest) or b"")
    size = (layout / "blobs" / image.digest.replace(":", "/")).stat().st_size
    assert manifest == {
        "schemaVersion": 2,
        "mediaType": make.OCI_MANIFEST,
        "artifactType": SPDX,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
        },
        "layers": [
            {
                "mediaType": SPDX,
                "digest": make.digest_of(content),
                "size": len(content),
                "annotations": {"org.opencontainers.image.title": "sbom.json"},
            }
        ],
        "subject": {"mediaType": make.OCI_MANIFEST, "digest": image.digest, "size": size},
        "annotations": {"a": "1", "b": "2"},
    }
    assert server.blob(name, make.digest_of(content)) == content
    assert server.blob(name, manifest["config"]["digest"]) == b"{}"
    (entry,) = _listed(server, name, layout)
    assert entry == {
        "mediaType": make.OCI_MANIFEST,
        "digest": digest,
        "size": len(server.manifest(name, digest) or b""),
        "artifactType": SPDX,
        "annotations": {"a": "1", "b": "2"},
    }
    assert f"{name}:sha256-{image.digest[7:]}: lists the artifact" in err
    # The image is what it was.
    server.assert_holds(name, layout, tag="t")


def test_attaching_again_changes_nothing_and_another_artifact_is_added(
    server: Server, layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "again"
    _push(layout, f"{server.host}/{name}")
    assert _attach(layout, f"{server.host}/{name}") == 0
    before = _listed(server, name, layout)
    with proxying(server.port, lambda _: None) as proxy:
        assert _attach(layout, f"{proxy.host}/{name}") == 0
    assert "PATCH" not in proxy.methods()
    puts = [seen.path for seen in proxy.seen if seen.method == "PUT"]
    assert puts == [f"/v2/{name}/manifests/{before[0]['digest']}"]
    assert _listed(server, name, layout) == before
    (tmp_path / "sbom.json").write_text("{}\n")
    assert _attach(layout, f"{server.host}/{name}", kind=CYCLONEDX) == 0
    after = _listed(server, name, layout)
    assert after[:1] == before
    assert [entry["artifactType"] for entry in after] == [SPDX, CYCLONEDX]
    capsys.readouterr()
    assert _attach(layout, f"{server.host}/{name}", "--list") == 0
    error = capsys.readouterr().err
    assert error == "".join(f"{e['digest']} {e['artifactType']}\n" for e in after) + (
        "2 referrer(s) of the image\n"
    )


def test_entries_of_other_clients_are_kept(server: Server, layout: Path, tmp_path: Path) -> None:
    name = "others"
    _push(layout, f"{server.host}/{name}")
    # Another client's index, as such clients write it: with members and annotations of its own.
    other = tmp_path / "other"
    child = make.make_layout(other, layers=[])
    size = (other / "blobs" / child.replace(":", "/")).stat().st_size
    foreign = {"mediaType": make.OCI_MANIFEST, "digest": child, "size": size, "x": {"y": [1]}}
    document = {
        "manifests": [foreign],
        "annotations": {"who": "else"},
        "mediaType": INDEX,
        "schemaVersion": 2,
    }
    digest, size = make.put_json(other, document)
    make.finish_layout(other, {"mediaType": INDEX, "digest": digest, "size": size})
    tag = fallback_tag(read_layout(layout).digest)
    _push(other, f"{server.host}/{name}", f"--tag={tag}")
    assert _attach(layout, f"{server.host}/{name}") == 0
    after = json.loads(server.manifest(name, tag) or b"")
    assert after["annotations"] == {"who": "else"}
    assert after["manifests"][0] == foreign
    assert [entry.get("artifactType") for entry in after["manifests"]] == [None, SPDX]


def test_an_empty_document_is_the_same_blob_as_the_empty_config(
    server: Server, layout: Path, tmp_path: Path
) -> None:
    (tmp_path / "sbom.json").write_text("{}")
    _push(layout, f"{server.host}/empty")
    assert _attach(layout, f"{server.host}/empty") == 0
    assert len(_listed(server, "empty", layout)) == 1


def test_a_concurrent_change_is_not_lost(server: Server, layout: Path) -> None:
    name = "race"
    _push(layout, f"{server.host}/{name}")
    (layout.parent / "other").mkdir()
    (layout.parent / "other" / "sbom.json").write_text("other")
    interfered: list[int] = []

    def decide(seen: Seen) -> Fault | None:
        # Between our reading and our writing of the index, another client writes it; then ours
        # overwrites that, and the other client, as the specification says, looks and writes again.
        if seen.method == "PUT" and "/manifests/sha256-" in seen.path and len(interfered) < 1:
            interfered.append(
                attach.main(
                    [
                        *("--layout", str(layout), "--repository", f"{server.host}/{name}"),
                        *("--artifact", str(layout.parent / "other" / "sbom.json")),
                        *("--artifact-type", CYCLONEDX),
                    ]
                )
            )
            return Fault(status=412)
        return None

    with proxying(server.port, decide) as proxy:
        assert _attach(layout, f"{proxy.host}/{name}") == 0
    assert interfered == [0]
    kinds = [entry["artifactType"] for entry in _listed(server, name, layout)]
    assert kinds == [CYCLONEDX, SPDX]


def test_an_entry_that_another_client_overwrote_is_written_again(
    server: Server, layout: Path
) -> None:
    name = "overwritten"
    _push(layout, f"{server.host}/{name}")
    tag = fallback_tag(read_layout(layout).digest)
    writes: list[str] = []

    def decide(seen: Seen) -> Fault | None:
        if seen.path.endswith(f"/manifests/{tag}"):
            writes.append(seen.method)
            # The first write is lost: somebody else's came after it.
            if writes.count("PUT") == 1 and seen.method == "PUT":
                return Fault(status=201)
        return None

    with proxying(server.port, decide) as proxy:
        assert _attach(layout, f"{proxy.host}/{name}") == 0
    assert writes == ["GET", "PUT", "GET", "PUT", "GET"]
    assert len(_listed(server, name, layout)) == 1


def test_an_index_that_keeps_changing_is_an_error(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "busy"
    _push(layout, f"{server.host}/{name}")

    def decide(seen: Seen) -> Fault | None:
        hit = seen.method == "PUT" and "/manifests/sha256-" in seen.path
        return Fault(status=412) if hit else None

    with proxying(server.port, decide) as proxy:
        assert _attach(layout, f"{proxy.host}/{name}") == 1
    assert "other clients keep changing it; try again" in capsys.readouterr().err


def test_a_registry_with_the_referrers_api_gets_no_fallback_tag(
    server: Server, layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "api"
    image = read_layout(layout)
    with referrers_front(server.port) as front:
        _push(layout, f"{front.host}/{name}", "--tag=t")
        digests = []
        for number in range(3):
            (tmp_path / "sbom.json").write_text(f"{number}")
            capsys.readouterr()
            assert _attach(layout, f"{front.host}/{name}", f"--annotation=n={number}") == 0
            out, err = capsys.readouterr()
            digests.append(out.strip().partition("@")[2])
            assert f"{front.host}/{name}@{image.digest}: listed by the registry" in err
        assert _attach(layout, f"{front.host}/{name}", "--dry-run") == 0
        assert f"{name}@{image.digest}: the registry would list it" in capsys.readouterr().err
        # In pages of two.
        assert _attach(layout, f"{front.host}/{name}", "--list") == 0
    err = capsys.readouterr().err
    assert [line.split()[0] for line in err.splitlines()[:-1]] == digests
    assert server.manifest(name, fallback_tag(image.digest)) is None
    for digest in digests:
        assert make.digest_of(server.manifest(name, digest) or b"") == digest
    server.assert_holds(name, layout, tag="t")


def test_the_manifest_is_the_same_in_every_registry(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digests = set()
    with referrers_front(server.port) as front:
        for repository in (f"{server.host}/same/a", f"{front.host}/same/b"):
            _push(layout, repository)
            capsys.readouterr()
            assert _attach(layout, repository) == 0
            digests.add(capsys.readouterr().out.strip().partition("@")[2])
    assert len(digests) == 1


def test_an_artifact_may_refer_to_an_index_or_to_one_of_its_images(
    server: Server, layout: Path, tmp_path: Path
) -> None:
    out = ["--output", str(tmp_path / "all"), "--digest-output", str(tmp_path / "digest")]
    assert index.main(["--image", str(layout), *out, "--label", "//x:y"]) == 0
    repository = f"{server.host}/of-index"
    _push(tmp_path / "all", repository, "--tag=t")
    assert _attach(tmp_path / "all", repository) == 0
    assert _attach(tmp_path / "all", repository, "--platform=linux/amd64") == 0
    (of_index,) = _listed(server, "of-index", tmp_path / "all")
    (of_image,) = _listed(server, "of-index", layout)
    for entry, path in ((of_index, tmp_path / "all"), (of_image, layout)):
        subject = json.loads(server.manifest("of-index", entry["digest"]) or b"")["subject"]
        assert subject["digest"] == open_layout(path).root.digest
        assert set(subject) == {"mediaType", "digest", "size"}


def test_a_dry_run_changes_nothing(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _push(layout, f"{server.host}/dry")
    with proxying(server.port, lambda _: None) as proxy:
        assert _attach(layout, f"{proxy.host}/dry", "--dry-run") == 0
    assert set(proxy.methods()) <= {"GET", "HEAD"}
    error = capsys.readouterr().err
    assert f"credentials for {proxy.host}: none found" in error
    assert "sbom.json sha256:" in error
    assert f"dry:{fallback_tag(read_layout(layout).digest)}: would list it" in error


def test_an_image_missing_from_the_registry_is_an_error(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _attach(layout, f"{server.host}/nothing") == 1
    digest = read_layout(layout).digest
    assert (
        f"attach: {server.host}/nothing@{digest}: the image is not in the registry; push it first"
        in (capsys.readouterr().err)
    )


def test_the_password_of_the_push_is_used_for_attaching(
    layout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(tmp_path / "secure", basic=True, tls=True) as secure:
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", secure.host)))
        ca = f"--ca-file={secure.ca}"
        _push(layout, f"{secure.host}/a", ca)
        assert _attach(layout, f"{secure.host}/a", ca) == 0
        assert len(_listed(secure, "a", layout)) == 1
    out, err = capsys.readouterr()
    assert USER not in out + err
    assert PASSWORD not in out + err


@pytest.mark.parametrize(
    "decide",
    [
        lambda seen: (
            Fault(reset_after=1 << 40) if seen.method == "PUT" and seen.count < 4 else None
        ),
        lambda seen: Fault(status=503) if seen.count == 0 else None,
        lambda seen: Fault(status=429, headers={"Retry-After": "0"}) if seen.count % 2 else None,
    ],
)
def test_attaching_recovers_from_faults(
    server: Server, layout: Path, decide: Callable[[Seen], Fault | None]
) -> None:
    name = f"faults/{id(decide)}"
    _push(layout, f"{server.host}/{name}")
    with proxying(server.port, decide) as proxy:
        assert _attach(layout, f"{proxy.host}/{name}") == 0
    assert len(_listed(server, name, layout)) == 1


def test_an_error_of_the_list_names_the_stored_artifact(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "unlisted"
    _push(layout, f"{server.host}/{name}", "--tag=t")

    def decide(seen: Seen) -> Fault | None:
        hit = seen.method == "PUT" and "/manifests/sha256-" in seen.path
        return Fault(status=500) if hit else None

    with proxying(server.port, decide) as proxy:
        assert _attach(layout, f"{proxy.host}/{name}", "--retries=1") == 1
        error = capsys.readouterr().err
        assert f"the artifact is stored as {proxy.host}/{name}@sha256:" in error
        assert f"but tag '{fallback_tag(read_layout(layout).digest)}'" in error
    server.assert_holds(name, layout, tag="t")


def test_a_fallback_tag_of_something_else_is_not_changed(
    server: Server, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tag = fallback_tag(read_layout(layout).digest)
    _push(layout, f"{server.host}/taken", f"--tag={tag}")
    assert _attach(layout, f"{server.host}/taken") == 1
    assert f"taken:{tag}: must be an image index" in capsys.readouterr().err
    server.assert_holds("taken", layout, tag=tag)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--artifact=missing.json"], "No such file or directory"),
        (["--annotation=x"], "annotation 'x' must be KEY=VALUE"),
        (["--artifact-type="], "no artifact type is set; pass --artifact-type"),
        (["--platform=linux/s390x"], None),
    ],
)
def test_an_invalid_attachment_is_refused(
    server: Server,
    layout: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str | None,
) -> None:
    _push(layout, f"{server.host}/refused")
    # A platform chooses among the images of an index; a single image is itself.
    assert _attach(layout, f"{server.host}/refused", *flags) == (0 if message is None else 1)
    assert (message or "") in capsys.readouterr().err
    assert attach.main([]) == 1
    assert "no layout is set; pass --layout" in capsys.readouterr().err


_ENTRIES = st.builds(
    lambda number, extra: {"digest": f"sha256:{number:064x}", **extra},
    st.integers(0, 20),
    st.dictionaries(st.sampled_from(["size", "artifactType", "x"]), st.integers(), max_size=3),
)


@given(st.lists(_ENTRIES, max_size=8), _ENTRIES)
def test_entries_are_added_once_and_none_is_changed(
    entries: list[dict[str, Any]], entry: dict[str, Any]
) -> None:
    document = {"mediaType": INDEX, "manifests": entries, "other": True}
    updated = with_entry(json.dumps(document).encode(), entry)
    if any(each["digest"] == entry["digest"] for each in entries):
        assert updated is None
    else:
        assert updated is not None
        assert json.loads(updated) == {**document, "manifests": [*entries, entry]}
        assert with_entry(updated, entry) is None


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"mediaType": "x", "manifests": []}', b"\xff", b"null"]
)
def test_an_invalid_index_is_an_error(data: bytes) -> None:
    with pytest.raises(ReferrersError):
        with_entry(data, {"digest": "sha256:0"})

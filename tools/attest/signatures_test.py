"""Signing in a real registry and in a layout, and who is refused afterwards."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tools.attest import sign, verify_signature
from tools.attest.signed_for_test import (
    ALGORITHMS,
    TAMPERINGS,
    Signed,
    make_image,
    make_key,
    push_image,
    sign_image,
)
from tools.attest.statement import make_statement
from tools.image import layouts_for_test as make
from tools.image.layout import open_layout
from tools.oci import index
from tools.registry import attach, push
from tools.registry.proxy_for_test import Fault, Seen, proxying
from tools.registry.referrers_front_for_test import referrers_front
from tools.registry.registry_for_test import PASSWORD, Server, docker_config, running

_NUMBERS = itertools.count()
VERIFIED, REFUSED, UNKNOWN = 0, 1, 2


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path, "p256")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image")


@pytest.fixture
def image(server: Server, layout: Path, key: Path) -> Signed:
    """An image that is pushed and signed."""
    name = f"image{next(_NUMBERS)}"
    digest = push_image(layout, f"{server.host}/{name}")
    assert sign_image(layout, key, f"{server.host}/{name}:v1") == 0
    return Signed(server, name, layout, digest, key)


def _verify(key: Path, reference: str, *flags: str) -> int:
    return verify_signature.main(["--key", str(key.with_suffix(".pub")), *flags, reference])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("media_type", [make.OCI_MANIFEST, "docker"])
def test_a_signed_image_is_verified(
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    algorithm: str,
    media_type: str,
) -> None:
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    layout = make_image(
        tmp_path / "image", media_type=docker if media_type == "docker" else media_type
    )
    key = make_key(tmp_path, algorithm)
    repository = f"{server.host}/signed{next(_NUMBERS)}"
    digest = push_image(layout, repository)
    assert sign_image(layout, key, f"{repository}:v1") == 0
    capsys.readouterr()
    for reference in (f"{repository}:v1", f"{repository}@{digest}", f"{repository}:v1@{digest}"):
        assert _verify(key, reference, "--attestation=openvex") == VERIFIED
    out = capsys.readouterr().out
    bare = digest.replace(":", "-")
    assert f"{bare}.sig, 1 of 1" in out
    assert f"{bare}.att, 1 of 1" in out
    assert out.count("referrer sha256:") == 6
    assert out.endswith(f"{digest}: verified\n")


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda each: str(each.__name__))
def test_a_tampered_signature_is_refused(
    image: Signed, tamper: Callable[[Signed], None], capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(image)
    capsys.readouterr()
    assert _verify(image.key, image.reference, "--attestation=openvex") == REFUSED
    out = capsys.readouterr().out
    assert "no signature of a trusted key\nno openvex attestation of a trusted key\n" in out
    assert out.endswith(": NOT verified\n")
    assert "signed by" not in out


_SAID = {
    "sign_with_another_key": ("no signature of a trusted key",),
    "replay_signatures_of_another_image": ("it signs another image", "it is about another image"),
    "change_the_type_of_the_payload": ("payloadType must be",),
    "sign_half_of_the_payload": ("not JSON",),
    "change_the_stored_bytes": ("sent bytes with digest",),
}


@pytest.mark.parametrize("tamper", [t for t in TAMPERINGS if t.__name__ in _SAID])
def test_a_refusal_says_why(
    image: Signed, tamper: Callable[[Signed], None], capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(image)
    capsys.readouterr()
    assert _verify(image.key, image.reference) == REFUSED
    out = capsys.readouterr().out
    for text in _SAID[tamper.__name__]:
        assert text in out


def test_signing_again_changes_nothing_and_signatures_of_others_stay(
    image: Signed, tmp_path: Path
) -> None:
    def state() -> list[dict[str, Any]]:
        listed = image.digest.replace(":", "-")
        return [image.get(image.tag("sig")), image.get(image.tag("att")), image.get(listed)]

    before = state()
    assert sign_image(image.layout, image.key, image.reference) == 0
    assert state() == before
    other = make_key(tmp_path / "other", "ed25519")
    assert sign_image(image.layout, other, image.reference) == 0
    after = state()
    for old, new in zip(before[:2], after[:2], strict=True):
        assert new["layers"][0] == old["layers"][0]
        assert len(new["layers"]) == 2
    assert after[2]["manifests"][:2] == before[2]["manifests"]
    for key in (image.key, other):
        assert _verify(key, image.reference, "--attestation=openvex") == VERIFIED


def test_a_signature_that_is_damaged_beside_a_good_one_does_no_harm(
    image: Signed, tmp_path: Path
) -> None:
    other = make_key(tmp_path / "other", "p256")
    assert sign_image(image.layout, other, image.reference) == 0
    manifest = image.get(image.tag("sig"))
    manifest["layers"][0]["annotations"] = {}
    manifest["layers"].append({**manifest["layers"][0], "digest": "sha256:" + "0" * 64})
    with pytest.raises(AssertionError):
        # The registry itself refuses a manifest with a blob that it lacks.
        image.put(image.tag("sig"), manifest)
    manifest["layers"].pop()
    image.put(image.tag("sig"), manifest)
    assert _verify(other, image.reference) == VERIFIED


def test_one_of_several_keys_is_enough(image: Signed, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other", "p256").with_suffix(".pub")
    assert _verify(image.key, image.reference, "--key", str(other)) == VERIFIED
    assert verify_signature.main(["--key", str(other), image.reference]) == REFUSED


def test_an_attestation_that_is_needed_must_be_there(
    image: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _verify(image.key, image.reference, "--attestation=slsaprovenance1") == REFUSED
    assert "no slsaprovenance1 attestation of a trusted key" in capsys.readouterr().out


def test_a_copy_in_another_repository_needs_the_name_that_was_signed(
    image: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Signed(image.server, f"{image.name}/copy", image.layout, image.digest, image.key)
    push_image(image.layout, copy.repository)
    for suffix in ("sig", "att"):
        manifest = image.get(image.tag(suffix))
        for each in (manifest["config"], *manifest["layers"]):
            copy.put_blob(image.blob(each["digest"]))
        copy.put(copy.tag(suffix), manifest)
    assert _verify(image.key, copy.reference) == REFUSED
    said = f"it is for another repository, {image.repository}; --identity accepts that one"
    assert said in capsys.readouterr().out
    assert _verify(image.key, copy.reference, "--identity", image.repository) == VERIFIED


def test_a_registry_with_the_referrers_api_lists_the_bundles(
    server: Server, layout: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with referrers_front(server.port) as front:
        digest = push_image(layout, f"{front.host}/api")
        assert sign_image(layout, key, f"{front.host}/api:v1") == 0
        capsys.readouterr()
        assert _verify(key, f"{front.host}/api:v1", "--attestation=openvex") == VERIFIED
    assert capsys.readouterr().out.count("referrer sha256:") == 2
    assert server.manifest("api", digest.replace(":", "-")) is None


def test_an_index_and_its_images_are_signed_with_what_is_said_of_each(
    server: Server, layout: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = tmp_path / "index"
    out = ["--output", str(both), "--digest-output", str(tmp_path / "digest")]
    assert index.main(["--image", str(layout), *out, "--label", "//x:y"]) == 0
    repository = f"{server.host}/index"
    root, child = push_image(both, repository), open_layout(layout).root.digest
    statement = tmp_path / "statement.json"
    statement.write_bytes(make_statement({child: "x"}, "https://x.example", {}))
    target = tmp_path / "target.json"
    target.write_text(json.dumps({"layout": "index", "statements": ["statement.json"]}))
    flags = ["--runfiles", str(tmp_path), "--target", "target.json", "--key", str(key)]
    assert sign.main([*flags, f"{repository}:v1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{repository}@{root}"
    assert _verify(key, f"{repository}:v1") == VERIFIED
    assert _verify(key, f"{repository}:v1", "--attestation=https://x.example") == REFUSED
    assert _verify(key, f"{repository}@{child}", "--attestation=https://x.example") == VERIFIED
    # A statement about something else is no part of this image's build.
    statement.write_bytes(make_statement({"sha256:" + "0" * 64: "x"}, "https://x.example", {}))
    assert sign.main([*flags, f"{repository}:v1"]) == 1
    assert "statement.json: is about sha256:0000" in capsys.readouterr().err
    statement.unlink()
    target.write_text(json.dumps({"layout": "index"}))
    # The layout again, offline.
    saved = tmp_path / "saved"
    assert sign.main([*flags, "--output", str(saved), repository]) == 0
    for reference in (f"{saved}", f"{saved}@{root}"):
        assert _verify(key, reference) == VERIFIED


def test_one_image_of_an_index_that_alone_was_pushed_is_signed(
    server: Server, layout: Path, key: Path, tmp_path: Path
) -> None:
    both = tmp_path / "index"
    out = ["--output", str(both), "--digest-output", str(tmp_path / "digest")]
    assert index.main(["--image", str(layout), *out, "--label", "//x:y"]) == 0
    digest = push_image(layout, f"{server.host}/single")
    assert sign.main(["--layout", str(both), "--key", str(key), f"{server.host}/single"]) == 0
    assert _verify(key, f"{server.host}/single@{digest}") == VERIFIED


def test_only_what_this_checkout_makes_is_signed(
    server: Server, layout: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_image(tmp_path / "other", "something else")
    theirs = push_image(other, f"{server.host}/theirs")
    ours = open_layout(layout).root.digest
    assert sign_image(layout, key, f"{server.host}/theirs:v1") == 1
    said = f"is {theirs}, which this checkout does not make: it makes {ours}"
    assert said in capsys.readouterr().err
    assert sign_image(layout, key, f"{server.host}/theirs") == 1
    assert f"the registry has none of {ours}; push the image first" in capsys.readouterr().err
    assert sign_image(layout, key, f"{server.host}/theirs:v2") == 1
    assert "theirs:v2: is not in the registry; push it first" in capsys.readouterr().err
    assert sign_image(layout, key, f"{server.host}/theirs@{ours}") == 1
    assert "push the image first" in capsys.readouterr().err
    assert server.manifest("theirs", theirs.replace(":", "-") + ".sig") is None


def test_a_dry_run_says_what_would_be_signed_and_writes_nothing(
    server: Server, layout: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = push_image(layout, f"{server.host}/dry")
    with proxying(server.port, lambda _: None) as proxy:
        assert sign_image(layout, key, f"{proxy.host}/dry:v1", "--dry-run") == 0
    assert set(proxy.methods()) <= {"GET", "HEAD"}
    assert f"@{digest}: openvex: would be signed" in capsys.readouterr().err


def test_a_layout_is_signed_and_verified_without_a_registry(
    layout: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved"
    assert sign_image(layout, key, "registry.example/app", "--output", str(saved)) == 0
    capsys.readouterr()
    assert _verify(key, str(saved), "--attestation=openvex") == VERIFIED
    assert _verify(key, str(saved), "--identity=registry.example/app") == VERIFIED
    assert _verify(key, str(saved), "--identity=registry.example/b") == REFUSED
    capsys.readouterr()
    assert sign_image(layout, key, "registry.example/app", "--output", str(saved)) == 1
    assert "is not empty; a new directory is needed" in capsys.readouterr().err


def test_a_layout_as_cosign_saves_it_names_kinds_alone(
    layout: Path, key: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "saved"
    assert sign_image(layout, key, "registry.example/app", "--output", str(saved)) == 0
    document = json.loads((saved / "index.json").read_bytes())
    kinds = [each["annotations"].pop("kind") for each in document["manifests"]]
    assert kinds == [f"dev.cosignproject.cosign/{kind}" for kind in ("image", "sigs", "atts")]
    document["manifests"] = [
        {**each, "annotations": {"kind": kind}}
        for each, kind in zip(document["manifests"], kinds, strict=True)
    ]
    (saved / "index.json").write_text(json.dumps(document))
    assert _verify(key, str(saved), "--attestation=openvex") == VERIFIED


def test_a_damaged_blob_of_a_layout_is_refused(
    layout: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved"
    assert sign_image(layout, key, "registry.example/app", "--output", str(saved)) == 0
    entries = json.loads((saved / "index.json").read_bytes())["manifests"]
    signatures = saved / "blobs" / entries[1]["digest"].replace(":", "/")
    signatures.write_bytes(signatures.read_bytes().replace(b"MEU", b"MEQ"))
    signatures.write_bytes(signatures.read_bytes() + b" ")
    capsys.readouterr()
    assert _verify(key, str(saved)) == REFUSED
    assert "its content has digest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to verify: give --key, or --rebuilders and --threshold"),
        (["--attestation=openvex", "--rebuilders", "x"], "--attestation needs --key"),
        (["--key=x", "--threshold=1"], "--threshold and --rebuilds need --rebuilders"),
        (["--key=x"], "key x: cannot be read"),
    ],
)
def test_a_check_that_cannot_be_made_says_so_and_is_no_refusal(
    tmp_path: Path,
    layout: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    assert verify_signature.main([str(layout), *flags]) == UNKNOWN
    assert message in capsys.readouterr().err


def test_a_registry_that_sends_another_image_is_not_believed(
    image: Signed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other image is signed, too, so its signatures alone would not show it."""
    other = make_image(tmp_path / "other", "an older release")
    theirs = push_image(other, image.repository, tag="old")
    assert sign_image(other, image.key, f"{image.repository}:old") == 0
    body = image.server.manifest(image.name, theirs) or b""

    def decide(seen: Seen) -> Fault | None:
        headers = {"Content-Type": make.OCI_MANIFEST, "Docker-Content-Digest": theirs}
        wanted = f"/manifests/{image.digest}"
        return Fault(status=200, headers=headers, body=body) if wanted in seen.path else None

    with proxying(image.server.port, decide) as proxy:
        reference = f"{proxy.host}/{image.name}@{image.digest}"
        assert _verify(image.key, reference, "--identity", image.repository) == UNKNOWN
    assert f"the registry sent a manifest with digest {theirs}" in capsys.readouterr().err


def test_an_image_that_cannot_be_found_is_no_refusal(
    server: Server, layout: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _verify(key, f"{server.host}/nothing:v1") == UNKNOWN
    assert f"{server.host}/nothing:v1: is not in the registry" in capsys.readouterr().err
    assert _verify(key, f"{layout}@sha256:{'0' * 64}") == UNKNOWN
    assert "sha256:000" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert _verify(key, str(tmp_path / "empty")) == UNKNOWN
    assert "not an OCI layout directory: No such file" in capsys.readouterr().err
    (tmp_path / "empty" / "index.json").write_text("[]")
    assert _verify(key, str(tmp_path / "empty")) == UNKNOWN
    assert "not the index of an OCI layout" in capsys.readouterr().err
    # An image without any signature is one that is refused.
    assert _verify(key, str(layout)) == REFUSED


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--attest=openvex", "h.io/a"], "--attest 'openvex' must be TYPE=FILE"),
        ([], "REFERENCE is missing"),
        (["h.io/a@sha256:00"], "a digest must be 'sha256:' and 64"),
        (["--output=x"], "REFERENCE is missing"),
    ],
)
def test_a_command_line_that_cannot_be_signed_is_refused(
    layout: Path,
    key: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    message: str,
) -> None:
    assert sign.main(["--layout", str(layout), "--key", str(key), *flags]) == 1
    assert message in capsys.readouterr().err
    assert sign.main(["--key", str(key), "h.io/a"]) == 1
    assert "no layout is set; pass --layout" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "codes"),
    [(sign, "0 signed; 1 a failure"), (verify_signature, "0 verified; 1 not verified; 2 unknown")],
)
def test_help_says_the_exit_codes(
    program: ModuleType, codes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        program.main(["--help"])
    assert f"exit code: {codes}" in " ".join(capsys.readouterr().out.split())


def test_the_public_key_is_printed_and_nothing_else(
    key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sign.main(["--key", str(key), "--public-key"]) == 0
    out, err = capsys.readouterr()
    assert (out.encode(), err) == (key.with_suffix(".pub").read_bytes(), "")


def test_the_key_is_in_no_output_and_no_request(
    server: Server, layout: Path, key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push_image(layout, f"{server.host}/secret")
    assert sign_image(layout, key, f"{server.host}/secret:v1", "--verbose") == 0
    out, err = capsys.readouterr()
    secrets = [line for line in key.read_text().splitlines() if "-" not in line]
    stored = [path.read_bytes() for path in server.data.rglob("data") if path.is_file()]
    for secret in secrets:
        assert secret not in out + err
        assert not any(secret.encode() in data for data in stored)


def test_a_tag_of_something_else_is_left_as_it_is(
    server: Server, layout: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = push_image(layout, f"{server.host}/taken")
    tag = digest.replace(":", "-") + ".sig"
    both = layout.parent / "index"
    out = ["--output", str(both), "--digest-output", str(layout.parent / "digest")]
    assert index.main(["--image", str(layout), *out, "--label", "//x:y"]) == 0
    push_image(both, f"{server.host}/taken", tag=tag)
    assert sign_image(layout, key, f"{server.host}/taken:v1") == 1
    assert f"taken:{tag}: must be a manifest of" in capsys.readouterr().err
    server.assert_holds("taken", layout)


def test_a_manifest_that_keeps_changing_is_an_error_and_one_change_is_none(
    server: Server, layout: Path, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push_image(layout, f"{server.host}/busy")
    count = 0

    def decide(seen: Seen, most: int) -> Fault | None:
        nonlocal count
        if seen.method == "PUT" and seen.path.endswith(".sig"):
            count += 1
            return Fault(status=412) if count <= most else None
        return None

    with proxying(server.port, lambda seen: decide(seen, 1)) as proxy:
        assert sign_image(layout, key, f"{proxy.host}/busy:v1") == 0
    count = 0
    other = make_key(key.parent / "other", "p256")
    with proxying(server.port, lambda seen: decide(seen, 100)) as proxy:
        assert sign_image(layout, other, f"{proxy.host}/busy:v1") == 1
    assert "other clients keep changing it; try again" in capsys.readouterr().err


def test_a_private_registry_is_signed_and_verified_with_the_credentials_of_the_push(
    layout: Path,
    key: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with running(tmp_path / "secure", basic=True, tls=True) as secure:
        monkeypatch.setenv("DOCKER_CONFIG", str(docker_config(tmp_path / "docker", secure.host)))
        ca, repository = f"--ca-file={secure.ca}", f"{secure.host}/a"
        assert push.main(["--layout", str(layout), "--repository", repository, ca]) == 0
        assert sign_image(layout, key, repository, ca) == 0
        digest = open_layout(layout).root.digest
        assert _verify(key, f"{repository}@{digest}", ca) == VERIFIED
        monkeypatch.delenv("DOCKER_CONFIG")
        assert _verify(key, f"{repository}@{digest}", ca) == UNKNOWN
    out, err = capsys.readouterr()
    assert "no credentials were found for this host" in err
    assert PASSWORD not in out + err


def test_an_sbom_that_is_attached_without_a_signature_is_no_signature(
    server: Server, layout: Path, key: Path, tmp_path: Path
) -> None:
    push_image(layout, f"{server.host}/sbom")
    (tmp_path / "sbom.json").write_text("{ }")
    flags = ["--layout", str(layout), "--artifact", str(tmp_path / "sbom.json")]
    kind = "--artifact-type=application/spdx+json"
    assert attach.main([*flags, kind, "--repository", f"{server.host}/sbom"]) == 0
    assert _verify(key, f"{server.host}/sbom:v1") == REFUSED
    assert push.main(["--layout", str(layout), "--repository", f"{server.host}/sbom"]) == 0

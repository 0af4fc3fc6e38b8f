"""cosign, skopeo and podman accept what we sign, and refuse what was tampered with; and we, theirs.

Everything is offline: cosign is told that there is no transparency log, and asks for no keys.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.attest import sign, verify_signature
from tools.attest.provenance import Build, Material, provenance
from tools.attest.signed_for_test import (
    ALGORITHMS,
    TAMPERINGS,
    VEX,
    Signed,
    make_image,
    make_key,
    push_image,
    sign_image,
)
from tools.attest.statement import PROVENANCE, REBUILD, TYPES, make_statement
from tools.conformance.programs_for_test import Programs, programs
from tools.image import layouts_for_test as make
from tools.image.layout import open_layout
from tools.oci import index
from tools.registry.registry_for_test import Server, forget_the_user, running

_NUMBERS = itertools.count()
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
# Neither a public log nor its keys, which cosign would fetch.
OFFLINE = "--insecure-ignore-tlog"
_COSIGN_REFUSES = (
    "failed to verify signature|no signatures found|no matching (signatures|attestations)"
)
SPDX = {"spdxVersion": "SPDX-2.3", "name": "app"}
CYCLONEDX = {"bomFormat": "CycloneDX", "specVersion": "1.6"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Programs:
    found = programs(tmp_path_factory.mktemp("others"), COSIGN_PASSWORD="")
    # podman and skopeo look for signatures of cosign's only where they are told to.
    directory = found.state / "var/.config/containers/registries.d"
    directory.mkdir(parents=True)
    settings = {"docker": {server.host: {"use-sigstore-attachments": True}}}
    (directory / "registry.yaml").write_text(json.dumps(settings))  # JSON is YAML.
    return found


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_user(monkeypatch, tmp_path)


@pytest.fixture
def image(server: Server, tmp_path: Path, others: Programs) -> Signed:
    """A pushed image, signed as `bazel run :sign` does it."""
    return _signed(server, tmp_path, others)


def _signed(
    server: Server,
    directory: Path,
    others: Programs,
    *,
    algorithm: str = "p256",
    media_type: str = make.OCI_MANIFEST,
) -> Signed:
    number = next(_NUMBERS)
    layout = make_image(directory / "image", content=str(number), media_type=media_type)
    # Where the programs see the public key, at the same path.
    key = make_key(others.work / f"key{number}", algorithm)
    found = Signed(server, f"image{number}", layout, open_layout(layout).root.digest, key)
    push_image(layout, found.repository)
    statements = {
        "provenance.json": provenance(open_layout(layout), Build("//app:image", (), (), (), {})),
        "spdx.json": make_statement({found.digest: ""}, TYPES["spdxjson"], SPDX),
        "cdx.json": make_statement({found.digest: ""}, TYPES["cyclonedx"], CYCLONEDX),
    }
    for name, content in statements.items():
        (directory / name).write_bytes(content)
    target = directory / "target.json"
    target.write_text(json.dumps({"layout": "image", "statements": list(statements)}))
    flags = ["--runfiles", str(directory), "--target", str(target)]
    assert sign_image(layout, key, found.reference, *flags) == 0
    return found


def _cosign(image: Signed, *, attestation: str = "", reference: str = "") -> list[str]:
    verb = ["verify-attestation", "--type", attestation] if attestation else ["verify"]
    key = ["--key", str(image.public_key)]
    return ["cosign", *verb, *key, OFFLINE, reference or image.reference]


def _policy(image: Signed, others: Programs) -> str:
    """Write the policy that an image of this registry must be signed by the key."""
    requirement = {
        "type": "sigstoreSigned",
        "keyPath": str(image.public_key),
        "signedIdentity": {"type": "matchRepository"},
    }
    policy = {
        "default": [{"type": "reject"}],
        "transports": {"docker": {image.server.host: [requirement]}},
    }
    path = others.work / f"policy{next(_NUMBERS)}.json"
    path.write_text(json.dumps(policy))
    return str(path)


def _skopeo(image: Signed, others: Programs, *flags: str, reference: str = "") -> list[str]:
    target = f"dir:{others.work}/copy{next(_NUMBERS)}"
    source = f"docker://{reference or image.reference}"
    policy = ["--policy", _policy(image, others), "--src-tls-verify=false"]
    return ["skopeo", "copy", "--quiet", *policy, *flags, source, target]


def _podman(image: Signed, others: Programs, *, reference: str = "") -> list[str]:
    policy = ["--signature-policy", _policy(image, others), "--tls-verify=false"]
    return ["podman", "pull", "--quiet", *policy, reference or image.reference]


def _ours(image: Signed, *flags: str, reference: str = "") -> int:
    key = ["--key", str(image.public_key)]
    return verify_signature.main([*key, *flags, reference or image.reference])


def _predicate(output: str) -> Any:
    """Return the predicate of the statement that cosign prints."""
    (line,) = {line for line in output.splitlines() if line.startswith("{")}
    return json.loads(base64.b64decode(json.loads(line)["payload"]))["predicate"]


@pytest.mark.parametrize("media_type", [make.OCI_MANIFEST, DOCKER])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_everybody_accepts_what_we_sign(
    server: Server, others: Programs, tmp_path: Path, algorithm: str, media_type: str
) -> None:
    image = _signed(server, tmp_path, others, algorithm=algorithm, media_type=media_type)
    assert image.digest in others.run(*_cosign(image))
    others.run(*_skopeo(image, others))
    others.run(*_podman(image, others))


@pytest.mark.parametrize("place", ["tags", "referrers"])
def test_cosign_finds_each_statement_in_either_place(
    image: Signed, others: Programs, place: str
) -> None:
    if place == "tags":
        image.forget_bundles()
    else:
        for suffix in ("sig", "att"):
            image.put(image.tag(suffix), {**image.get(image.tag(suffix)), "layers": []})
    assert image.digest in others.run(*_cosign(image))
    for kind, predicate in (("spdxjson", SPDX), ("cyclonedx", CYCLONEDX), ("openvex", VEX)):
        assert _predicate(others.run(*_cosign(image, attestation=kind))) == predicate
    made = _predicate(others.run(*_cosign(image, attestation="slsaprovenance1")))
    assert made["buildDefinition"]["externalParameters"]["target"] == "//app:image"
    assert _ours(image, "--attestation=spdxjson", "--attestation=slsaprovenance1") == 0


@pytest.mark.parametrize("tamper", TAMPERINGS, ids=lambda each: str(each.__name__))
def test_what_was_tampered_with_is_refused_by_everybody(
    image: Signed, others: Programs, tamper: Callable[[Signed], None]
) -> None:
    tamper(image)
    assert "Source image rejected: " in others.refused(*_skopeo(image, others))
    assert "Source image rejected: " in others.refused(*_podman(image, others))
    # cosign 3 reads the bundles, and what is under the tags if there are none.
    for bundles in (True, False):
        if not bundles:
            image.forget_bundles()
        for kind in ("", "slsaprovenance1"):
            said = others.refused(*_cosign(image, attestation=kind))
            assert re.search(_COSIGN_REFUSES, said), said
    assert _ours(image) == 1


def test_a_signature_for_another_repository_is_refused_where_repositories_are_compared(
    image: Signed, others: Programs
) -> None:
    copy = Signed(image.server, f"{image.name}/copy", image.layout, image.digest, image.key)
    push_image(image.layout, copy.repository)
    manifest = image.get(image.tag("sig"))
    for each in (manifest["config"], *manifest["layers"]):
        copy.put_blob(image.blob(each["digest"]))
    copy.put(copy.tag("sig"), manifest)
    others.refused(*_skopeo(copy, others))
    others.refused(*_podman(copy, others))
    assert _ours(copy) == 1
    # cosign compares digests alone.
    others.run(*_cosign(copy))


def test_an_image_without_signatures_is_refused_by_everybody(
    server: Server, others: Programs, tmp_path: Path
) -> None:
    key = make_key(others.work / f"key{next(_NUMBERS)}", "p256")
    layout = make_image(tmp_path / "image")
    image = Signed(server, "unsigned", layout, open_layout(layout).root.digest, key)
    push_image(layout, image.repository)
    assert "no signatures found" in others.refused(*_cosign(image))
    assert "A signature was required" in others.refused(*_skopeo(image, others))
    assert "A signature was required" in others.refused(*_podman(image, others))


def test_an_index_and_its_images_are_accepted(
    server: Server, others: Programs, tmp_path: Path
) -> None:
    layout, both = make_image(tmp_path / "image", "of an index"), tmp_path / "index"
    out = ["--output", str(both), "--digest-output", str(tmp_path / "digest")]
    assert index.main(["--image", str(layout), *out, "--label", "//x:y"]) == 0
    key = make_key(others.work / f"key{next(_NUMBERS)}", "p256")
    image = Signed(server, "index", both, open_layout(both).root.digest, key)
    push_image(both, image.repository)
    assert sign_image(both, key, image.reference) == 0
    child = f"{image.repository}@{open_layout(layout).root.digest}"
    for reference in (image.reference, child):
        others.run(*_cosign(image, reference=reference))
        others.run(*_skopeo(image, others, reference=reference))
    others.run(*_skopeo(image, others, "--all"))


def test_oras_lists_the_bundles_as_referrers(image: Signed, others: Programs) -> None:
    found = others.read("oras", "discover", "--plain-http", "--format", "json", image.reference)
    kinds = [
        each["annotations"]["dev.sigstore.bundle.predicateType"] for each in found["referrers"]
    ]
    assert sorted(kinds) == sorted([*TYPES.values(), "https://sigstore.dev/cosign/sign/v1"])


def test_a_signed_layout_is_accepted_without_a_registry_and_refused_when_changed(
    others: Programs, tmp_path: Path
) -> None:
    layout = make_image(tmp_path / "image")
    key = make_key(others.work / f"key{next(_NUMBERS)}", "p256")
    saved = others.work / f"saved{next(_NUMBERS)}"
    assert sign_image(layout, key, "registry.example/app", "--output", str(saved)) == 0
    flags = ["--key", str(key.with_suffix(".pub")), OFFLINE, "--local-image", str(saved)]
    others.run("cosign", "verify", *flags)
    others.run("cosign", "verify-attestation", "--type", "openvex", *flags)
    other = make_key(others.work / f"key{next(_NUMBERS)}", "p256").with_suffix(".pub")
    flags[1] = str(other)
    others.refused("cosign", "verify", *flags)
    others.refused("cosign", "verify-attestation", "--type", "openvex", *flags)


def test_cosign_loads_a_signed_layout_and_we_read_what_it_saves(
    server: Server, others: Programs, tmp_path: Path
) -> None:
    layout = make_image(tmp_path / "image", "carried by hand")
    key = make_key(others.work / f"key{next(_NUMBERS)}", "p256")
    image = Signed(server, "loaded", layout, open_layout(layout).root.digest, key)
    ours, theirs = (others.work / f"layout{next(_NUMBERS)}" for _ in range(2))
    assert sign_image(layout, key, image.repository, "--output", str(ours)) == 0
    others.run("cosign", "load", "--dir", str(ours), image.reference)
    others.run(*_cosign(image))
    others.run(*_skopeo(image, others))
    others.run("cosign", "save", "--dir", str(theirs), image.reference)
    for reference in (image.reference, str(theirs)):
        assert _ours(image, "--attestation=openvex", reference=reference) == 0


def test_we_accept_what_cosign_signs_and_attests(
    server: Server, others: Programs, tmp_path: Path
) -> None:
    layout = make_image(tmp_path / "image", "signed by cosign")
    key = make_key(others.work / f"key{next(_NUMBERS)}", "p256")
    image = Signed(server, "theirs", layout, open_layout(layout).root.digest, key)
    push_image(layout, image.repository)
    reference = f"{image.repository}@{image.digest}"
    prefix = key.parent / "cosign"
    others.run(
        "cosign", "import-key-pair", "--yes", "--key", str(key), "--output-key-prefix", str(prefix)
    )
    local = ["--key", f"{prefix}.key", "--use-signing-config=false", "--tlog-upload=false", "--yes"]
    assert _ours(image, reference=reference) == 1
    others.run("cosign", "sign", *local, reference)
    assert _ours(image, reference=reference) == 0
    (others.work / "vex.json").write_text(json.dumps(VEX))
    predicate = ["--type", "openvex", "--predicate", str(others.work / "vex.json")]
    assert _ours(image, "--attestation=openvex", reference=reference) == 1
    others.run("cosign", "attest", *local, *predicate, reference)
    assert _ours(image, "--attestation=openvex", reference=reference) == 0


def test_cosign_reads_the_key_that_we_export(
    image: Signed, others: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert sign.main(["--key", str(image.key), "--public-key"]) == 0
    exported = others.work / "exported.pub"
    exported.write_text(capsys.readouterr().out)
    others.run("cosign", "verify", "--key", str(exported), OFFLINE, image.reference)


def test_cosign_reads_a_rebuild(image: Signed, others: Programs) -> None:
    who = ["--rebuilder", "https://me.example", "--revision", "1234567890" * 4]
    command = ["--layout", str(image.layout), "--key", str(image.key), *who, image.reference]
    assert sign.main(command) == 0
    said = _predicate(others.run(*_cosign(image, attestation=REBUILD)))
    assert said["verifier"] == {"id": "https://me.example"}
    assert said["verificationResult"] == "PASSED"


def test_a_statement_alone_is_no_signature_of_the_image_to_us_and_podman(
    server: Server, others: Programs, tmp_path: Path
) -> None:
    """cosign 3 takes any statement of the key for a signature; README.md says so."""
    key = make_key(others.work / f"key{next(_NUMBERS)}", "p256")
    layout = make_image(tmp_path / "image", "only rebuilt")
    image = Signed(server, "rebuilt", layout, open_layout(layout).root.digest, key)
    push_image(layout, image.repository)
    who = ["--rebuilder", "https://me.example", "--revision", "1234567890" * 4]
    command = ["--layout", str(layout), "--key", str(key), *who, image.reference]
    assert sign.main(command) == 0
    others.run(*_cosign(image))
    assert "A signature was required" in others.refused(*_podman(image, others))
    assert _ours(image) == 1


def test_cosign_signs_our_provenance_unchanged(image: Signed, others: Programs) -> None:
    """It parses a predicate of this type, and refuses members that the type lacks."""
    lock = Material("//:lock", "0" * 64)
    build = Build("//x:y", files=(), locks=[lock], components=(), actions={"OciImage": 1})
    made = json.loads(provenance(open_layout(image.layout), build))
    (others.work / "predicate.json").write_text(json.dumps(made["predicate"]))
    prefix = image.key.parent / "cosign"
    pair = ["--key", str(image.key), "--output-key-prefix", str(prefix)]
    others.run("cosign", "import-key-pair", "--yes", *pair)
    statement = others.work / "bundle.json"
    others.run(
        *("cosign", "attest", "--key", f"{prefix}.key", "--use-signing-config=false"),
        *("--tlog-upload=false", "--yes", "--no-upload", "--type", "slsaprovenance1"),
        *("--predicate", str(others.work / "predicate.json"), "--bundle", str(statement)),
        f"{image.repository}@{image.digest}",
    )
    envelope = json.loads(statement.read_bytes())["dsseEnvelope"]
    signed = json.loads(base64.b64decode(envelope["payload"]))
    assert (signed["predicateType"], signed["predicate"]) == (PROVENANCE, made["predicate"])

"""Envelopes and statements: DSSE's own example, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from tools.attest import cosign, dsse, simple_signing
from tools.attest.dsse import Envelope, pre_authentication, read_envelope
from tools.attest.keys import PrivateKey
from tools.attest.statement import (
    TYPES,
    DocumentError,
    make_statement,
    read_statement,
    short_name,
    type_of,
)
from tools.image import spec
from tools.image.layouts_for_test import digest_of

_KEYS = {
    "p256": PrivateKey(ec.generate_private_key(ec.SECP256R1()), "p256"),
    "ed25519": PrivateKey(ed25519.Ed25519PrivateKey.generate(), "ed25519"),
}
DIGEST = "sha256:" + "a" * 64


def test_the_example_of_the_specification() -> None:
    # dsse/protocol.md, "Test Vectors".
    signed = pre_authentication("http://example.com/HelloWorld", b"hello world")
    assert signed == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.binary(), st.lists(st.binary(), max_size=3))
def test_an_envelope_is_read_as_it_was_written(payload: bytes, signatures: list[bytes]) -> None:
    envelope = Envelope(payload, tuple(signatures))
    assert read_envelope(json.dumps(envelope.to_json()).encode()) == envelope


@given(st.data())
def test_no_changed_bit_verifies(data: st.DataObject) -> None:
    key = _KEYS[data.draw(st.sampled_from(sorted(_KEYS)))]
    envelope = dsse.sign(b'{"a": 1}', key)
    assert envelope.signers([key.public]) == [key.public]
    parts = [envelope.payload, envelope.signatures[0], envelope.kind.encode()]
    which = data.draw(st.integers(0, 2))
    changed = bytearray(parts[which])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.sampled_from([1, 2, 4]))
    parts[which] = bytes(changed)
    payload, signature, kind = parts
    assert Envelope(payload, (signature,), kind.decode("latin-1")).signers([key.public]) == []


def test_the_url_safe_alphabet_is_read_too() -> None:
    document = Envelope(b"\xfb\xff\xfe", (b"\xff\xef\xbe",)).to_json()
    assert "/" in document["payload"]
    document["payload"] = document["payload"].replace("+", "-").replace("/", "_")
    document["signatures"][0]["sig"] = base64.urlsafe_b64encode(b"\xff\xef\xbe").decode()
    read = read_envelope(json.dumps(document).encode())
    assert (read.payload, read.signatures) == (b"\xfb\xff\xfe", (b"\xff\xef\xbe",))


_GOOD: dict[str, Any] = Envelope(b"{}", (b"x",)).to_json()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "not JSON"),
        (b"[]", "must be a JSON object, found list"),
        (b'{"payload": "", "payload": ""}', "names a member twice"),
        (b"{}", "'payload' and 'payloadType' must be strings"),
        (json.dumps({**_GOOD, "signatures": {}}).encode(), "'signatures' must be a list"),
        (json.dumps({**_GOOD, "signatures": ["x"]}).encode(), "'signatures' must be a list"),
        (json.dumps({**_GOOD, "payload": "%"}).encode(), "not base64"),
        (json.dumps({**_GOOD, "signatures": [{"sig": "%"}]}).encode(), "not base64"),
        (json.dumps({**_GOOD, "payloadType": "text/plain"}).encode(), "payloadType must be"),
        (json.dumps({"mediaType": dsse.BUNDLE}).encode(), "a bundle without a DSSE envelope"),
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        read_envelope(data)


def test_a_statement_is_read_as_it_was_written() -> None:
    read = read_statement(make_statement({DIGEST: "app"}, "https://x.example", {"a": 1}))
    assert (read.kind, read.names, read.predicate) == (
        "https://x.example",
        {DIGEST: "app"},
        {"a": 1},
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"_type": "https://in-toto.io/Statement/v9"},
            "_type is 'https://in-toto.io/Statement/v9'",
        ),
        ({"predicateType": None}, "predicateType or predicate is missing"),
        ({"predicate": []}, "predicateType or predicate is missing"),
        ({"subject": None}, "a subject has no sha256 digest"),
        ({"subject": [{"digest": {"sha512": "x"}}]}, "a subject has no sha256 digest"),
        ({"subject": ["x"]}, "a subject has no sha256 digest"),
    ],
)
def test_what_is_no_statement_is_refused(change: dict[str, Any], message: str) -> None:
    document = json.loads(make_statement({DIGEST: ""}, "https://x.example", {}))
    with pytest.raises(DocumentError, match=message):
        read_statement(json.dumps({**document, **change}).encode())


def test_types_have_cosigns_short_names() -> None:
    for name, uri in TYPES.items():
        assert (type_of(name), short_name(uri)) == (uri, name)
    assert type_of("https://x.example") == short_name("https://x.example") == "https://x.example"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"critical": None}, "not the payload of an image's signature"),
        ({"critical": {"type": "x"}}, "not the payload of an image's signature"),
        ({"type": "atomic container signature"}, "type must be 'cosign container image signature'"),
        ({"image": {"docker-manifest-digest": "sha256:0"}}, "it signs another image, sha256:0"),
    ],
)
def test_a_payload_of_something_else_is_refused(change: dict[str, Any], message: str) -> None:
    payload = json.loads(simple_signing.make_payload("h.io/a", DIGEST))
    assert simple_signing.check_payload(json.dumps(payload).encode(), DIGEST) == "h.io/a"
    if "critical" in change:
        payload = change
    else:
        payload["critical"].update(change)
    with pytest.raises(DocumentError, match=message):
        simple_signing.check_payload(json.dumps(payload).encode(), DIGEST)


def test_layers_are_added_once_and_others_stay() -> None:
    one = cosign.signature_layer(b"payload", b"one")
    two = cosign.signature_layer(b"payload", b"two")
    first = cosign.append(None, [one])
    assert first is not None
    assert cosign.append(first[0], [one]) is None
    second = cosign.append(first[0], [one, two])
    assert second is not None
    assert cosign.read_manifest(second[0]) == (one.descriptor, two.descriptor)
    document, config = json.loads(second[0]), json.loads(second[1])
    assert document["config"]["digest"] == digest_of(second[1])
    assert config["rootfs"]["diff_ids"] == [one.descriptor.digest, two.descriptor.digest]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"mediaType": "x", "layers": []}', "must be a manifest of"),
        (json.dumps({"mediaType": spec.OCI_MANIFEST}).encode(), "must be a manifest of"),
        (
            json.dumps({"mediaType": spec.OCI_MANIFEST, "layers": [{}]}).encode(),
            "descriptor member 'mediaType' must be a string",
        ),
        (
            json.dumps(
                {
                    "mediaType": spec.OCI_MANIFEST,
                    "layers": [{"mediaType": "x", "digest": DIGEST, "size": 1 << 40}],
                }
            ).encode(),
            "bytes are more than",
        ),
    ],
)
def test_a_manifest_of_something_else_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        cosign.read_manifest(data)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"not JSON: .*surrogates not allowed"):
        read_envelope(b'{"payload": "\\ud800"}')

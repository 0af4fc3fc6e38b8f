"""A signed image in a registry, and what an attacker does to it, for tests of who notices."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tools.attest import dsse, sign
from tools.attest.keys import PrivateKey, load_private_key
from tools.image import layouts_for_test as make
from tools.image.layout import open_layout
from tools.registry import push
from tools.registry.registry_for_test import Server

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
VEX: dict[str, Any] = {
    "@context": "https://openvex.dev/ns/v0.2.0",
    "@id": "https://x.example",
    "author": "me",
    "timestamp": "2026-01-01T00:00:00Z",
    "version": 1,
    "statements": [],
}
ALGORITHMS = ("p256", "ed25519")


def make_key(directory: Path, algorithm: str, name: str = "key") -> Path:
    """Write a new private key and, beside it as `.pub`, its public key."""
    key = generate_private_key(SECP256R1()) if algorithm == "p256" else Ed25519PrivateKey.generate()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    path.with_suffix(".pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path


def make_image(directory: Path, content: str = "a", **members: Any) -> Path:
    """Make the layout of an image in the new directory `directory`."""
    make.make_layout(directory, layers=[make.tar_bytes({"a": content.encode()})], **members)
    return directory


def push_image(layout: Path, repository: str, tag: str = "v1") -> str:
    """Push a layout; return its digest."""
    assert push.main(["--layout", str(layout), "--repository", repository, "--tag", tag]) == 0
    return open_layout(layout).root.digest


def sign_image(layout: Path, key: Path, reference: str, *flags: str) -> int:
    """Sign a pushed layout with the program itself, and a VEX document about it."""
    vex = key.parent / "vex.json"
    vex.write_text(json.dumps(VEX))
    command = ["--layout", str(layout), "--key", str(key), "--attest", f"openvex={vex}"]
    return sign.main([*command, *flags, reference])


@dataclass(frozen=True)
class Signed:
    """A pushed and signed image, and the key that signed it."""

    server: Server
    name: str
    layout: Path
    digest: str
    key: Path

    @property
    def repository(self) -> str:
        return f"{self.server.host}/{self.name}"

    @property
    def reference(self) -> str:
        return f"{self.repository}:v1"

    @property
    def public_key(self) -> Path:
        return self.key.with_suffix(".pub")

    def private_key(self) -> PrivateKey:
        return load_private_key(str(self.key), here=Path(), environ={})

    def tag(self, suffix: str) -> str:
        return f"{self.digest.replace(':', '-')}.{suffix}"

    def get(self, reference: str) -> dict[str, Any]:
        """Return a manifest or index."""
        data = self.server.manifest(self.name, reference)
        assert data is not None, reference
        found: dict[str, Any] = json.loads(data)
        return found

    def blob(self, digest: str) -> bytes:
        data = self.server.blob(self.name, digest)
        assert data is not None, digest
        return data

    def put(self, reference: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Store a manifest under a tag, or under its digest for ""; return its descriptor."""
        data = json.dumps(document).encode()
        digest = make.digest_of(data)
        path = f"/v2/{self.name}/manifests/{reference or digest}"
        self._send("PUT", path, data, document["mediaType"])
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(data)}

    def put_blob(self, data: bytes) -> dict[str, Any]:
        """Store a blob; return digest and size."""
        digest = make.digest_of(data)
        location = self._send("POST", f"/v2/{self.name}/blobs/uploads/", b"", "")
        path = location.partition(self.server.host)[2] or location
        joint = "&" if "?" in path else "?"
        octets = "application/octet-stream"
        self._send("PUT", f"{path}{joint}digest={digest}", data, octets)
        return {"digest": digest, "size": len(data)}

    def _send(self, method: str, path: str, data: bytes, kind: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port)
        connection.request(method, path, body=data, headers={"Content-Type": kind})
        response = connection.getresponse()
        response.read()
        assert response.status in (201, 202), (method, path, response.status)
        return response.headers.get("Location") or ""

    def rewrite_layers(self, suffix: str, change: Callable[[dict[str, Any], bytes], bytes]) -> None:
        """Change the signed documents under one of cosign's tags; `change` may edit the layer."""
        manifest = self.get(self.tag(suffix))
        for layer in manifest["layers"]:
            data = change(layer, self.blob(layer["digest"]))
            layer.update(self.put_blob(data))
        self.put(self.tag(suffix), manifest)

    def rewrite_bundles(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the envelope in each bundle that refers to the image."""
        listed = self.digest.replace(":", "-")
        index = self.get(listed)
        for entry in index["manifests"]:
            manifest = self.get(entry["digest"])
            (layer,) = manifest["layers"]
            bundle = json.loads(self.blob(layer["digest"]))
            change(bundle["dsseEnvelope"])
            layer.update(self.put_blob(json.dumps(bundle).encode()))
            entry.update(self.put("", manifest))
        self.put(listed, index)

    def forget_bundles(self) -> None:
        """Empty the list of the image's referrers."""
        listed = self.digest.replace(":", "-")
        self.put(listed, {**self.get(listed), "manifests": []})

    def rewrite(
        self,
        simple: Callable[[bytes, bytes], tuple[bytes, bytes]],
        envelope: Callable[[dict[str, Any]], None],
    ) -> None:
        """Change every signature, in each place and form.

        `simple` gets and returns payload and signature of simple signing.
        """

        def change_simple(layer: dict[str, Any], data: bytes) -> bytes:
            annotations = layer["annotations"]
            signature = base64.b64decode(annotations[_SIGNATURE])
            payload, changed = simple(data, signature)
            annotations[_SIGNATURE] = base64.b64encode(changed).decode()
            return payload

        def change_envelope(_: dict[str, Any], data: bytes) -> bytes:
            document = json.loads(data)
            envelope(document)
            return json.dumps(document).encode()

        self.rewrite_layers("sig", change_simple)
        self.rewrite_layers("att", change_envelope)
        self.rewrite_bundles(envelope)


_SIGNATURE = "dev.cosignproject.cosign/signature"
_OTHER = "sha256:" + "0" * 64


def _payload(envelope: dict[str, Any]) -> bytes:
    return base64.b64decode(envelope["payload"])


def _set(envelope: dict[str, Any], payload: bytes, key: PrivateKey | None = None) -> None:
    """Put another payload into an envelope, and sign it if a key is given."""
    envelope["payload"] = base64.b64encode(payload).decode()
    if key is not None:
        signature = key.sign(dsse.pre_authentication(envelope["payloadType"], payload))
        envelope["signatures"] = [{"sig": base64.b64encode(signature).decode()}]


def flip_a_bit_of_the_signature(image: Signed) -> None:
    def flip(signature: bytes) -> bytes:
        return signature[:-1] + bytes([signature[-1] ^ 1])

    def envelope(document: dict[str, Any]) -> None:
        (signature,) = document["signatures"]
        signature["sig"] = base64.b64encode(flip(base64.b64decode(signature["sig"]))).decode()

    image.rewrite(lambda payload, signature: (payload, flip(signature)), envelope)


def sign_with_another_key(image: Signed) -> None:
    other = make_key(image.layout.parent, "p256", "attacker")
    key = load_private_key(str(other), here=Path(), environ={})
    image.rewrite(
        lambda payload, _: (payload, key.sign(payload)),
        lambda document: _set(document, _payload(document), key),
    )


def change_the_payload(image: Signed) -> None:
    def change(payload: bytes) -> bytes:
        return payload.replace(b"{", b"{ ", 1)

    image.rewrite(
        lambda payload, signature: (change(payload), signature),
        lambda document: _set(document, change(_payload(document))),
    )


def replay_signatures_of_another_image(image: Signed) -> None:
    key = image.private_key()
    bare, other = image.digest[7:].encode(), _OTHER[7:].encode()

    def simple(payload: bytes, _: bytes) -> tuple[bytes, bytes]:
        changed = payload.replace(bare, other)
        return changed, key.sign(changed)

    image.rewrite(
        simple, lambda document: _set(document, _payload(document).replace(bare, other), key)
    )


def point_a_signature_of_another_image_to_this_one(image: Signed) -> None:
    bare, other = image.digest[7:].encode(), _OTHER[7:].encode()
    key = image.private_key()

    def simple(payload: bytes, _: bytes) -> tuple[bytes, bytes]:
        return payload, key.sign(payload.replace(bare, other))

    def envelope(document: dict[str, Any]) -> None:
        payload = _payload(document)
        _set(document, payload.replace(bare, other), key)
        _set(document, payload)

    image.rewrite(simple, envelope)


def take_the_signature_out(image: Signed) -> None:
    image.rewrite(
        lambda payload, _: (payload, b""), lambda document: document.update(signatures=[])
    )


def take_a_signature_of_other_data(image: Signed) -> None:
    """Sign payloads as if they were of the other form: what one means, the other must not."""
    key = image.private_key()

    def envelope(document: dict[str, Any]) -> None:
        signature = base64.b64encode(key.sign(_payload(document))).decode()
        document["signatures"] = [{"sig": signature}]

    image.rewrite(
        lambda payload, _: (payload, key.sign(dsse.pre_authentication(dsse.IN_TOTO, payload))),
        envelope,
    )


def change_the_type_of_the_payload(image: Signed) -> None:
    """Of envelopes without another signature; of simple signing, whose type is in the payload."""
    image.rewrite(
        lambda payload, signature: (payload.replace(b"cosign container", b"other"), signature),
        lambda document: document.update(payloadType="text/plain"),
    )


def sign_half_of_the_payload(image: Signed) -> None:
    key = image.private_key()

    def simple(payload: bytes, _: bytes) -> tuple[bytes, bytes]:
        half = payload[: len(payload) // 2]
        return half, key.sign(half)

    def envelope(document: dict[str, Any]) -> None:
        payload = _payload(document)
        _set(document, payload[: len(payload) // 2], key)

    image.rewrite(simple, envelope)


def move_the_tag_to_another_image(image: Signed) -> None:
    push_image(make_image(image.layout.parent / "other", "evil"), image.repository)


def remove_every_signature(image: Signed) -> None:
    for suffix in ("sig", "att"):
        manifest = image.get(image.tag(suffix))
        image.put(image.tag(suffix), {**manifest, "layers": []})
    image.forget_bundles()


def change_the_stored_bytes(image: Signed) -> None:
    """On the registry's disk, so that it serves other bytes under the same digest."""
    layers = [
        layer for suffix in ("sig", "att") for layer in image.get(image.tag(suffix))["layers"]
    ]
    for entry in image.get(image.digest.replace(":", "-"))["manifests"]:
        layers += image.get(entry["digest"])["layers"]
    for layer in layers:
        hexadecimal = layer["digest"][7:]
        (file,) = image.server.data.rglob(f"blobs/sha256/*/{hexadecimal}/data")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(bytes(content))


TAMPERINGS: tuple[Callable[[Signed], None], ...] = (
    flip_a_bit_of_the_signature,
    sign_with_another_key,
    change_the_payload,
    replay_signatures_of_another_image,
    point_a_signature_of_another_image_to_this_one,
    take_the_signature_out,
    take_a_signature_of_other_data,
    change_the_type_of_the_payload,
    sign_half_of_the_payload,
    move_the_tag_to_another_image,
    remove_every_signature,
    change_the_stored_bytes,
)

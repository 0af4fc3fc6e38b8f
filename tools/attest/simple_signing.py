"""The payload of an image's signature in cosign's tag: which repository, which digest.

https://github.com/containers/image/blob/main/docs/containers-signature.5.md, as cosign writes it
and as `sigstoreSigned` of containers-policy.json(5) reads it.
"""

from __future__ import annotations

from typing import Any

from tools.attest.statement import DocumentError, parse_object
from tools.image.spec import encode_json

MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_KIND = "cosign container image signature"


def make_payload(repository: str, digest: str) -> bytes:
    """Return the payload for the image `digest` in `repository`."""
    return encode_json(
        {
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": digest},
                "type": _KIND,
            },
            "optional": None,
        }
    )


def check_payload(payload: bytes, digest: str) -> str:
    """Return the repository that a payload names; raise DocumentError unless it signs `digest`."""
    critical: Any = parse_object(payload).get("critical")
    try:
        kind, signed = critical["type"], critical["image"]["docker-manifest-digest"]
        repository = critical["identity"]["docker-reference"]
    except (KeyError, TypeError) as error:
        raise DocumentError("not the payload of an image's signature") from error
    if kind != _KIND:
        raise DocumentError(f"type must be '{_KIND}', found {kind!r}")
    if signed != digest:
        raise DocumentError(f"it signs another image, {signed}")
    return str(repository)

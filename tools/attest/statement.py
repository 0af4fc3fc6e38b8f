"""in-toto statements: a claim (predicate) of a type about images, by digest.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.cli import ToolError
from tools.image.spec import encode_json

V1 = "https://in-toto.io/Statement/v1"
_V01 = "https://in-toto.io/Statement/v0.1"

PROVENANCE = "https://slsa.dev/provenance/v1"
REBUILD = "https://slsa.dev/verification_summary/v1"
SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
# cosign's short name → predicate type.
TYPES: Mapping[str, str] = {
    "cyclonedx": "https://cyclonedx.org/bom",
    "openvex": "https://openvex.dev/ns",
    "slsaprovenance1": PROVENANCE,
    "spdxjson": "https://spdx.dev/Document",
}


class DocumentError(ToolError):
    """What should be a signed document, or part of one, is none."""


@dataclass(frozen=True)
class Statement:
    """A statement as it was read. `names` are its subjects': digest → name, "" without one."""

    kind: str
    names: Mapping[str, str]
    predicate: Mapping[str, Any]

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests of its subjects, `sha256:…`."""
        return tuple(self.names)


def make_statement(subjects: Mapping[str, str], kind: str, predicate: Mapping[str, Any]) -> bytes:
    """Return the bytes of a statement; `subjects` is digest → name, which may be empty."""
    return encode_json(
        {
            "_type": V1,
            "subject": [
                {**({"name": name} if name else {}), "digest": {"sha256": _bare(digest)}}
                for digest, name in subjects.items()
            ],
            "predicateType": kind,
            "predicate": predicate,
        }
    )


def read_statement(payload: bytes) -> Statement:
    """Read a statement of version 1 or 0.1, which cosign writes; raise DocumentError."""
    document = parse_object(payload)
    if document.get("_type") not in (V1, _V01):
        raise DocumentError(f"not an in-toto statement: _type is {document.get('_type')!r}")
    kind, predicate = document.get("predicateType"), document.get("predicate")
    if not isinstance(kind, str) or not isinstance(predicate, dict):
        raise DocumentError("not an in-toto statement: predicateType or predicate is missing")
    return Statement(kind, _names(document.get("subject")), predicate)


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object in which no name occurs twice: readers would take different ones.

    Raise DocumentError.
    """
    try:
        value = json.loads(data, object_pairs_hook=_unique)
        # Half a surrogate pair is no character: readers would see different texts.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DocumentError(f"must be a JSON object, found {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise DocumentError("a JSON object names a member twice")
    return result


def type_of(name: str) -> str:
    """Return the predicate type of a short name, or the URI that it is."""
    return TYPES.get(name, name)


def short_name(kind: str) -> str:
    """Return cosign's short name of a predicate type, or the type itself."""
    return next((name for name, uri in TYPES.items() if uri == kind), kind)


def _names(subjects: Any) -> dict[str, str]:
    try:
        return {
            f"sha256:{subject['digest']['sha256']}": str(subject.get("name", ""))
            for subject in subjects
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise DocumentError("not an in-toto statement: a subject has no sha256 digest") from error


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:")

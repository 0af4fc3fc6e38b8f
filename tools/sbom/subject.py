"""What an SBOM is about: one image, by its digest; and how every SBOM is encoded."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packageurl import PackageURL

from tools.image.layout import read_layout
from tools.image.spec import encode_json

TOOL = "pinned_image-sbom"


@dataclass(frozen=True)
class Subject:
    """An image. `created` is the time of the locks, in RFC 3339, UTC."""

    name: str
    digest: str
    architecture: str
    created: str
    distro: str

    @property
    def purl(self) -> str:
        """The image's package URL, of type oci."""
        qualifiers = {"arch": self.architecture}
        name = self.name.rpartition("/")[2].lower()
        return PackageURL("oci", None, name, self.digest, qualifiers=qualifiers).to_string()


def read_subject(image: Path, *, name: str, distro: str, mtime: int) -> Subject:
    """Return the subject of the image in a layout; `mtime` in seconds since the epoch.

    Raise ToolError.
    """
    found = read_layout(image)
    created = datetime.fromtimestamp(mtime, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Subject(
        name=name,
        digest=found.digest,
        architecture=str(found.config.get("architecture")),
        created=created,
        distro=distro,
    )


def content_uuid(content: Any) -> uuid.UUID:
    """Return a UUID (RFC 9562, version 5) that depends on the content alone."""
    return uuid.uuid5(uuid.NAMESPACE_OID, encode_json(content).decode())


def encode(content: Any) -> bytes:
    """Return the bytes of a document: sorted, and indented so that differences are readable."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"

"""Where an image and its signatures are: a repository of a registry, or an OCI layout directory.

A layout with signatures is laid out as `cosign save` does: `index.json` lists the image and the
manifests that cosign's tags point to elsewhere, each with its `kind`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tools.attest import cosign
from tools.attest.cosign import BUNDLE_ANNOTATIONS, Layer
from tools.attest.dsse import BUNDLE
from tools.attest.statement import DocumentError
from tools.cli import ToolError, parse_json
from tools.image import spec
from tools.image.layout import Layout, LayoutError, blob_path, read_blob
from tools.image.references import walk
from tools.image.spec import Descriptor
from tools.registry import attach, download, push
from tools.registry.cli import CliContext
from tools.registry.errors import RegistryError
from tools.registry.push_plan import Blob, Manifest, Plan
from tools.registry.referrers import Artifact, list_referrers
from tools.registry.registry import Registry

_KIND = "kind"
_REF_NAME = "org.opencontainers.image.ref.name"
_KINDS = {"sig": "dev.cosignproject.cosign/sigs", "att": "dev.cosignproject.cosign/atts"}
_IMAGE_KINDS = ("dev.cosignproject.cosign/image", "dev.cosignproject.cosign/imageIndex")
# Others may change a manifest under a tag at the same time.
_ATTEMPTS = 5
_PRECONDITION_FAILED = 412


class DamagedError(ToolError):
    """Something in a store is not what its digest says, or is missing."""


class Store(Protocol):
    """What signatures are read from."""

    def find(self, digest: str, suffix: str) -> bytes | None:
        """Return the manifest under cosign's tag for the image `digest`; None if there is none."""

    def manifest(self, digest: str) -> bytes:
        """Return a manifest by its digest, verified; raise DamagedError."""

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a blob, verified; raise DamagedError."""

    def referrers(self, digest: str) -> list[str]:
        """Return the digests of the bundles that refer to the image `digest`."""


class RegistryStore:
    """A repository of a registry. Raise TransportError or RegistryError besides what it says."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def find(self, digest: str, suffix: str) -> bytes | None:
        """Return the manifest under cosign's tag; None if there is none."""
        found = self._registry.get_manifest(cosign.tag(digest, suffix))
        return found.body if found else None

    def manifest(self, digest: str) -> bytes:
        """Return a manifest, verified; raise DamagedError."""
        found = self._registry.get_manifest(digest)
        if found is None:
            raise DamagedError(f"manifest {digest}: is not in the registry")
        return _checked(found.body, digest)

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a blob, verified; raise DamagedError."""
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "blob"
            try:
                download.fetch_blob(self._registry, descriptor, file)
            except RegistryError as error:
                raise DamagedError(str(error)) from error
            return file.read_bytes()

    def referrers(self, digest: str) -> list[str]:
        """Return the digests of the bundles that refer to the image."""
        return [
            str(each["digest"])
            for each in list_referrers(self._registry, digest)
            # cosign 3 gives the type of the empty config here in the list under a tag.
            if each.get("artifactType") in (BUNDLE, "application/vnd.oci.empty.v1+json")
        ]


class LayoutStore:
    """A layout directory that holds one image, and signatures of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries = _read_index(path)

    def root(self, digest: str | None) -> str:
        """Return the digest of the image; raise ToolError if it cannot be told which."""
        images = [
            each.digest for each in self._entries if cosign.annotation(each, _KIND) in _IMAGE_KINDS
        ] or [each.digest for each in self._entries if not self._is_signature(each)]
        if digest is not None and digest in images:
            return digest
        if digest is not None or len(images) != 1:
            wanted = digest or "one image"
            raise ToolError(f"{self.path}: {wanted} is needed, found {', '.join(images) or 'none'}")
        return images[0]

    def find(self, digest: str, suffix: str) -> bytes | None:
        """Return the manifest under cosign's tag; None if there is none."""
        name = cosign.tag(digest, suffix)
        named = [each for each in self._entries if cosign.annotation(each, _REF_NAME) == name]
        if not named and digest == self.root(None):
            named = [
                each
                for each in self._entries
                if cosign.annotation(each, _KIND) == _KINDS[suffix]
                and not cosign.annotation(each, _REF_NAME)
            ]
        return self.manifest(named[0].digest) if named else None

    def manifest(self, digest: str) -> bytes:
        """Return a manifest, verified; raise DamagedError."""
        try:
            data = blob_path(self.path, digest).read_bytes()
        except OSError as error:
            raise DamagedError(f"{self.path}: {digest}: {error.strerror}") from error
        return _checked(data, digest)

    def blob(self, descriptor: Descriptor) -> bytes:
        """Return a blob, verified; raise DamagedError."""
        try:
            return read_blob(Layout(self.path, descriptor), descriptor)
        except LayoutError as error:
            raise DamagedError(str(error)) from error

    def referrers(self, digest: str) -> list[str]:
        """Return the digests of the bundles that refer to the image."""
        return [each.digest for each in self._entries if self._subject(each) == digest]

    def _is_signature(self, entry: Descriptor) -> bool:
        return (
            cosign.annotation(entry, _KIND) in _KINDS.values()
            or cosign.annotation(entry, _REF_NAME).endswith((".sig", ".att"))
            or self._subject(entry) is not None
        )

    def _subject(self, entry: Descriptor) -> str | None:
        if entry.media_type != spec.OCI_MANIFEST:
            return None
        try:
            return cosign.subject_of(self.manifest(entry.digest))
        except (DamagedError, DocumentError):
            return None


def write_layout(layout: Layout, root: Descriptor, out: Path) -> None:
    """Write a copy of an image or index into the new directory `out`; raise ToolError, OSError."""
    if out.exists() and any(out.iterdir()):
        raise ToolError(f"{out}: is not empty; a new directory is needed")
    for descriptor, blobs in walk(layout, root):
        for each in (descriptor, *blobs):
            file = blob_path(out, each.digest)
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                shutil.copyfile(layout.blob(each.digest), file)
    kind = _IMAGE_KINDS[root.media_type in spec.INDEX_TYPES]
    entry = Descriptor(root.media_type, root.digest, root.size)
    _write_index(out, [{**entry.to_json(), "annotations": {_KIND: kind}}])


def save_layers(out: Path, digest: str, suffix: str, layers: Sequence[Layer]) -> None:
    """Add signatures of the image `digest` to the layout that `write_layout` made."""
    made = cosign.append(None, layers)
    if made is None:
        return
    manifest, config = made
    for data in (manifest, config, *(each.data for each in layers)):
        blob_path(out, spec.sha256_digest(data)).write_bytes(data)
    entries = [each.to_json() for each in _read_index(out)]
    # cosign knows signatures of the first image only; ours are found by their tag.
    of_root = digest == entries[0]["digest"]
    entries.append(
        {
            "mediaType": spec.OCI_MANIFEST,
            "digest": spec.sha256_digest(manifest),
            "size": len(manifest),
            "annotations": {
                _REF_NAME: cosign.tag(digest, suffix),
                **({_KIND: _KINDS[suffix]} if of_root else {}),
            },
        }
    )
    _write_index(out, entries)


def push_layers(
    registry: Registry, context: CliContext, digest: str, suffix: str, layers: Sequence[Layer]
) -> None:
    """Add signatures of the image `digest` to the manifest under cosign's tag.

    The manifest is read, extended, written and read again, as the list of referrers is: another
    client may write at the same time. Raise ToolError.
    """
    name = cosign.tag(digest, suffix)
    where = f"{registry.repository}:{name}"
    for _ in range(_ATTEMPTS):
        current = registry.get_manifest(name)
        try:
            made = cosign.append(current.body if current else None, layers)
        except DocumentError as error:
            raise ToolError(f"{where}: {error}; it is left as it is") from error
        if made is None:
            return
        manifest, config = made
        _store_blobs(registry, context, config, layers)
        try:
            registry.put_manifest(
                manifest,
                media_type=spec.OCI_MANIFEST,
                reference=name,
                digest=spec.sha256_digest(manifest),
                replacing=current.headers.get("ETag") if current else None,
            )
        except RegistryError as error:
            if error.status != _PRECONDITION_FAILED:
                raise
    raise ToolError(f"{where}: other clients keep changing it; try again")


def push_bundle(
    registry: Registry, context: CliContext, subject: Descriptor, kind: str, bundle: bytes
) -> None:
    """Attach the bundle of a statement of type `kind` to the image `subject`; raise ToolError."""
    content, predicate_type = BUNDLE_ANNOTATIONS
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "bundle.json"
        file.write_bytes(bundle)
        artifact = Artifact(
            path=file,
            kind=BUNDLE,
            media_type=BUNDLE,
            annotations=((content, "dsse-envelope"), (predicate_type, kind)),
        )
        request = attach.Request(artifact, subject, registry.repository)
        attach.attach(request, registry, context)


def _store_blobs(
    registry: Registry, context: CliContext, config: bytes, layers: Sequence[Layer]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        blobs = []
        for descriptor, data in _with_config(config, layers):
            file = blob_path(Path(scratch), descriptor.digest)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            blobs.append(Blob(descriptor, file, "signed document"))
        no_manifests: tuple[Manifest, ...] = ()
        request = push.Request(Path(scratch), registry.repository)
        push.store(request, registry, context.progress, Plan(tuple(blobs), no_manifests))


def _with_config(config: bytes, layers: Sequence[Layer]) -> Iterator[tuple[Descriptor, bytes]]:
    yield Descriptor(spec.OCI_CONFIG, spec.sha256_digest(config), len(config)), config
    for each in layers:
        yield each.descriptor, each.data


def _checked(data: bytes, digest: str) -> bytes:
    found = spec.sha256_digest(data)
    if found != digest:
        raise DamagedError(f"manifest {digest}: its content has digest {found}")
    return data


def _read_index(path: Path) -> list[Descriptor]:
    file = path / "index.json"
    try:
        entries: Any = parse_json(file.read_bytes())["manifests"]
        return [spec.parse_descriptor(each) for each in entries]
    except OSError as error:
        raise ToolError(f"{file}: not an OCI layout directory: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, spec.SpecError) as error:
        raise ToolError(f"{file}: not the index of an OCI layout: {error}") from error


def _write_index(path: Path, entries: list[dict[str, Any]]) -> None:
    index = {"schemaVersion": 2, "mediaType": spec.OCI_INDEX, "manifests": entries}
    (path / "index.json").write_bytes(spec.encode_json(index))
    (path / "oci-layout").write_bytes(spec.encode_json({"imageLayoutVersion": "1.0.0"}))

"""A .deb → its component: what its control file and its debian/copyright say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from packageurl import PackageURL

from tools.apt.relations import parse
from tools.archive.deb import control_fields, data_tar, relative_path
from tools.archive.deb822 import paragraphs
from tools.cli import ToolError
from tools.sbom import licenses
from tools.sbom.component import Component, digests

_SOURCE = re.compile(r"(\S+)(?:\s+\((\S+)\))?")
_DOC = "usr/share/doc/"
_NO_FILE = "Not stated: the package has no copyright file of its own and shares none."
_SEE_LICENCE = "No notice that can be told from the text: see the licence, which is the whole file."


@dataclass(frozen=True)
class Copyright:
    """What a copyright file says: names of licences, the text of each, and the notices."""

    names: tuple[str, ...] = ()
    texts: Mapping[str, str] | None = None
    notices: str | None = None


def describe_debs(paths: Sequence[Path], *, distro: str) -> list[Component]:
    """Return the components of packages. Raise ToolError.

    `distro` is the distribution's name and version as package URLs have it, "debian-12". A package
    whose documentation is a link to that of another has the other's copyright file.
    """
    read = [_read(path) for path in paths]
    texts = {name: text for _, name, text, _ in read}
    links = {name: link for _, name, _, link in read}
    found = []
    for path, name, _, _ in read:
        owner: str | None = name
        followed: set[str] = set()
        while owner and not texts.get(owner) and owner not in followed:
            followed.add(owner)
            owner = links.get(owner)
        found.append(_describe(path, distro=distro, text=texts.get(owner or "", "")))
    return found


def _describe(path: Path, *, distro: str, text: str) -> Component:
    fields = control_fields(path)
    name, version, arch = fields["package"], fields["version"], fields["architecture"]
    source = _SOURCE.fullmatch(fields.get("source") or name)
    source_name = source[1] if source else name
    source_version = (source[2] if source else None) or version
    upstream = source_name if source_version == version else f"{source_name}@{source_version}"
    qualifiers = {"arch": arch, "distro": distro}
    if upstream != name:
        # How vulnerabilities are filed: by source package.
        qualifiers["upstream"] = upstream
    purl = PackageURL("deb", distro.partition("-")[0], name, version, qualifiers=qualifiers)
    found = digests(path.read_bytes())
    said = read_copyright(text)
    owner = f"debian-{source_name}"
    licence = licenses.of_debian(said.names, texts=said.texts or {}, owner=owner)
    if licence is None:
        licence = licenses.reference(owner, text or _NO_FILE)
    return Component(
        ref=f"deb-{name}",
        name=name,
        version=version,
        purl=purl.to_string(),
        file=path.name,
        sha256=found.sha256,
        sha512=found.sha512,
        license=licence.expression,
        license_texts=licence.texts,
        license_names=said.names,
        copyright=said.notices or (_SEE_LICENCE if text else _NO_FILE),
        source=f"{source_name} {source_version}",
        homepage=fields.get("homepage"),
        maintainer=fields.get("maintainer"),
        needs=_groups(fields.get("pre-depends", ""), fields.get("depends", "")),
        provides=_groups(fields.get("provides", "")),
    )


def _groups(*relations: str) -> tuple[str, ...]:
    """Return groups of alternatives as text, "a (>= 1) | b"."""
    return tuple(
        " | ".join(str(each) for each in group) for field in relations for group in parse(field)
    )


def read_copyright(text: str) -> Copyright:
    """Return what a debian/copyright says.

    Of free-form text nothing but the lines with a copyright can be read reliably; a
    machine-readable one (DEP-5) gives licences and notices to files.
    """
    free = Copyright(notices=licenses.copyright_lines(text))
    if not text.lstrip().startswith("Format:"):
        return free
    try:
        stanzas = list(paragraphs(re.sub(r"\n[ \t]*\n(?=[^\s])", "\n\n", text)))
    except ToolError:
        return free
    names: set[str] = set()
    texts: dict[str, str] = {}
    notices: dict[str, None] = {}
    for stanza in stanzas:
        name, _, body = stanza.get("license", "").strip().partition("\n")
        if body.strip():
            texts.setdefault(name.strip(), body)
        if "files" in stanza:
            names |= {name.strip()} - {""}
            lines = (line.strip() for line in stanza.get("copyright", "").splitlines())
            notices.update(dict.fromkeys(line for line in lines if line))
    return Copyright(tuple(sorted(names)), texts, "\n".join(notices) or free.notices)


def _read(path: Path) -> tuple[Path, str, str, str | None]:
    """Return path, name, copyright file, and the package whose documentation it shares."""
    name = control_fields(path)["package"]
    own = f"{_DOC}{name}"
    text, link = "", None
    with data_tar(path) as tar:
        for member in tar:
            place = relative_path(member.name, of=path)
            if place == f"{own}/copyright" and member.isreg():
                # Of a regular member, extractfile always returns a stream.
                content = cast("IO[bytes]", tar.extractfile(member)).read()
                text = content.decode("utf-8", "replace")
            elif place in (own, f"{own}/copyright") and member.issym():
                link = member.linkname.removesuffix("/copyright").rpartition("/")[2]
    return path, name, text, link

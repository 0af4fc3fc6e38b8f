"""A wheel → its component, those its own SBOMs declare (PEP 770), and the libraries it bundles.

The version of a bundled library is read from the text that its makers put into it (what `strings`
shows) or from the wheel's own SBOM, and is left out where there is none: a file's name tells an
interface, not a version.
"""

from __future__ import annotations

import email.parser
import email.utils
import posixpath
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.archive.zip_archive import DAMAGE, open_zip, reason
from tools.cli import ToolError, parse_json
from tools.sbom import licenses
from tools.sbom.bundled import Library, LicenceTable, identify
from tools.sbom.component import Component, digests
from tools.sbom.licenses import Licence

_SBOM = re.compile(r"[^/]+\.dist-info/sboms/[^/]+\.json")
_LICENCE_FILE = re.compile(
    r"[^/]+\.dist-info/(?:.*/)?[^/]*(?:LICEN[CS]E|COPYING|NOTICE)[^/]*", re.IGNORECASE
)
_LIBRARY = re.compile(
    r"[^/]+\.libs/(?:.*/)?(lib[^/]+?)(?:-r\d+)?(?:-[0-9a-f]{8})*(?:\.\d+)*\.so(?:\.[^/]*)?"
)
_NO_VERSION = "Version unknown: neither the file nor the wheel's own SBOM states one."


def describe_wheel(path: Path) -> tuple[Component, ...]:
    """Return the components of a wheel, itself first. Raise ToolError naming the wheel."""
    try:
        with open_zip(path) as archive:
            own = _licence_texts(archive)
            wheel = _wheel(path, archive, own)
            return (
                wheel,
                *(_with_licence(each, wheel, own) for each in _inside(archive, wheel, own)),
            )
    except (*DAMAGE, OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ToolError(f"{path}: cannot be read as a wheel: {reason(error)}") from error


def _wheel(path: Path, archive: zipfile.ZipFile, own: str) -> Component:
    (metadata_file,) = (
        name
        for name in archive.namelist()
        if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
    )
    text = archive.read(metadata_file).decode("utf-8", "replace")
    message = email.parser.Parser().parsestr(text, headersonly=True)
    metadata: dict[str, list[str]] = {}
    for field, value in message.items():
        metadata.setdefault(field.lower(), []).append(str(value))
    name = canonicalize_name(metadata["name"][0])  # as package URLs have it
    version = metadata["version"][0]
    found = digests(path.read_bytes())
    expression, names = licenses.of_wheel(metadata)
    licence = Licence(expression) if expression else licenses.reference(f"pypi-{name}", own)
    if not expression and not own:
        stated = "; ".join(names) or "nothing"
        licence = licenses.reference(
            f"pypi-{name}", f"The wheel has no licence file; its metadata states: {stated}."
        )
    pages = [each.partition(",")[2].strip() for each in metadata.get("project-url", ())]
    return Component(
        ref=f"pypi-{name}",
        name=name,
        version=version,
        purl=PackageURL("pypi", None, name, version).to_string(),
        file=path.name,
        sha256=found.sha256,
        sha512=found.sha512,
        license=licence.expression,
        license_texts=licence.texts,
        license_names=names,
        copyright=licenses.copyright_lines(own)
        or "Not stated: the wheel has no licence file with a notice.",
        homepage=next(iter([*metadata.get("home-page", ()), *pages]), None),
        maintainer=_maintainer(metadata),
        needs=tuple(str(Requirement(text)) for text in metadata.get("requires-dist", ())),
    )


def _licence_texts(archive: zipfile.ZipFile) -> str:
    """Return the wheel's licence files, one after the other, each once."""
    files = sorted(filter(_LICENCE_FILE.fullmatch, archive.namelist()))
    texts = [archive.read(file).decode("utf-8", "replace").strip() for file in files]
    return "\n\n".join(dict.fromkeys(texts))


def _maintainer(metadata: Mapping[str, Sequence[str]]) -> str | None:
    """Return "Name <address>" of the first maintainer, else author, that has an address."""
    names = [*metadata.get("maintainer", ()), *metadata.get("author", ())]
    for role in ("maintainer", "author"):
        for name, address in email.utils.getaddresses(list(metadata.get(f"{role}-email", ()))):
            if "@" in address:
                stated = name or next(iter(metadata.get(role, ())), "")
                return f"{stated} <{address}>".strip()
    return next(iter(names), None)


def _inside(archive: zipfile.ZipFile, wheel: Component, own: str) -> Iterator[Component]:
    """Yield what is in a wheel: what its SBOMs declare, joined with the libraries that it has."""
    declared = list(_declared(archive, wheel))
    for library in _libraries(archive, wheel, own):
        for position, each in enumerate(declared):
            if library.is_part_of(each):
                declared[position] = _joined(each, library.component)
                break
        else:
            declared.append(library.component)
    found: dict[str, Component] = {}
    for each in declared:
        known = found.get(each.ref)
        found[each.ref] = each if known is None else _joined(known, each)
    yield from found.values()


def _with_licence(part: Component, wheel: Component, own: str) -> Component:
    """Return a part of a wheel; the wheel's licence files are its licence if it has no other."""
    text = own or f"Not stated: neither {wheel.name} nor its SBOM gives it a licence."
    licence = licenses.reference(wheel.ref, text)
    where = "the wheel's licence files have those of all parts" if own else "no file has it"
    return replace(
        part,
        license=part.license or licence.expression,
        license_texts=part.license_texts if part.license else licence.texts,
        copyright=part.copyright or f"Not stated for this part: {where}.",
        # What is no file of its own, or several, comes in the wheel.
        file=part.file if part.sha256 else wheel.file,
        sha256=part.sha256 or wheel.sha256,
        sha512=part.sha512 or wheel.sha512,
    )


def _joined(one: Component, other: Component) -> Component:
    """Return one component for what two records say of it.

    Of several files, no one's digest is the component's.
    """
    several = one.file is not None and one.file != other.file
    files = tuple(dict.fromkeys([*one.files, *other.files]))
    licence = (
        licenses.all_of(
            Licence(str(each.license), each.license_texts) for each in (one, other) if each.license
        )
        if one.license or other.license
        else None
    )
    return replace(
        one,
        cpe=one.cpe or other.cpe,
        files=files,
        file=one.file or other.file,
        sha256=None if several else other.sha256,
        sha512=None if several else other.sha512,
        license=licence.expression if licence else None,
        license_texts=licence.texts if licence else (),
        copyright=one.copyright or other.copyright,
    )


def _declared(archive: zipfile.ZipFile, wheel: Component) -> Iterator[Component]:
    """Yield what the SBOMs inside a wheel list, except for the wheel itself."""
    found: dict[str, Component] = {}
    # Not every name says that the document is CycloneDX. SPDX has no `components`.
    for file in filter(_SBOM.fullmatch, sorted(archive.namelist())):
        document = parse_json(archive.read(file))
        refs = {}
        for entry in document.get("components", ()):
            component = _from_cyclonedx(entry, wheel, file)
            if component is not None:
                refs[entry.get("bom-ref")] = component.ref
                found.setdefault(component.ref, component)
        for entry in document.get("dependencies", ()):
            ref = refs.get(entry.get("ref"))
            if ref:
                needed = {refs[each] for each in entry.get("dependsOn", ()) if each in refs}
                found[ref] = replace(
                    found[ref], depends=tuple(sorted({*found[ref].depends, *needed} - {ref}))
                )
    yield from found.values()


def _from_cyclonedx(entry: dict[str, Any], wheel: Component, file: str) -> Component | None:
    if not isinstance(entry.get("purl"), str):
        return None
    purl = PackageURL.from_string(entry["purl"])
    if purl.type == "pypi" and canonicalize_name(purl.name) == wheel.name:
        return None
    # Where it was built is of no use to others, and may be a path of the builder's machine.
    kept = {
        k: v for k, v in dict(purl.qualifiers or {}).items() if k in ("arch", "distro", "epoch")
    }
    clean = PackageURL(purl.type, purl.namespace, purl.name, purl.version, qualifiers=kept)
    stated = [each.get("expression") for each in entry.get("licenses", ())]
    expression = licenses.checked(stated[0]) if stated and stated[0] else None
    pages = {each.get("type"): each.get("url") for each in entry.get("externalReferences", ())}
    version = str(entry["version"]) if entry.get("version") else None
    return Component(
        ref=f"{wheel.ref}-{purl.type}-{purl.name}-{purl.version}",
        name=str(entry["name"]),
        version=version,
        purl=clean.to_string(),
        license=expression,
        homepage=pages.get("website") or pages.get("vcs") or wheel.homepage,
        maintainer=str(entry.get("author") or "").partition(",")[0] or wheel.maintainer,
        parent=wheel.ref,
        files=(file,),
        notes=() if version else (_NO_VERSION,),
    )


def _libraries(archive: zipfile.ZipFile, wheel: Component, own: str) -> Iterator[Library]:
    """Yield shared libraries beside the package, where auditwheel and similar tools put them."""
    table = LicenceTable(own)
    for file in sorted(archive.namelist()):
        match = _LIBRARY.fullmatch(file)
        if not match:
            continue
        content = archive.read(file)
        found = digests(content)
        product, version, cpe = identify(match[1], content, file=file)
        licence = table.licence(file, content)
        name = product or match[1]
        component = Component(
            ref=f"{wheel.ref}-bundled-{name}" + (f"-{version}" if version else ""),
            name=name,
            version=version,
            purl=_generic(name, version, found.sha256),
            cpe=cpe,
            file=posixpath.basename(file),
            sha256=found.sha256,
            sha512=found.sha512,
            license=licence.expression if licence else None,
            license_texts=licence.texts if licence else (),
            homepage=wheel.homepage,
            maintainer=wheel.maintainer,
            parent=wheel.ref,
            files=(file,),
            notes=() if version else (_NO_VERSION,),
        )
        yield Library(component, stem=match[1])


def _generic(name: str, version: str | None, sha256: str) -> str:
    """Return the package URL of a file from nowhere: its digest stands in for a version."""
    qualifiers = {} if version else {"checksum": f"sha256:{sha256}"}
    return PackageURL("generic", None, name, version, qualifiers=qualifiers).to_string()

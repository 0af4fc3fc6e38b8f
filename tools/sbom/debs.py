"""A .deb → its component: what its control file and its debian/copyright say."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from packageurl import PackageURL

from tools.archive.deb import control_fields, read_file
from tools.archive.deb822 import paragraphs
from tools.cli import ToolError
from tools.sbom import licenses
from tools.sbom.component import Component

_SOURCE = re.compile(r"(\S+)(?:\s+\((\S+)\))?")


def describe_deb(path: Path, *, distro: str) -> Component:
    """Return the component of a package. Raise ToolError.

    `distro` is the distribution's name and version as package URLs have it, "debian-12".
    """
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
    names = license_names(_copyright(path, name))
    return Component(
        ref=f"deb-{name}",
        name=name,
        version=version,
        purl=purl.to_string(),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        license=licenses.of_debian(names),
        license_names=names,
        source=f"{source_name} {source_version}",
        homepage=fields.get("homepage"),
        maintainer=fields.get("maintainer"),
    )


def license_names(text: str) -> tuple[str, ...]:
    """Return the licences that a machine-readable debian/copyright (DEP-5) gives to files.

    Empty for free-form text: nothing can be read from it reliably.
    """
    if not text.lstrip().startswith("Format:"):
        return ()
    try:
        stanzas = list(paragraphs(re.sub(r"\n[ \t]*\n(?=[^\s])", "\n\n", text)))
    except ToolError:
        return ()
    found = {
        stanza["license"].splitlines()[0].strip()
        for stanza in stanzas
        if "files" in stanza and stanza.get("license", "").strip()
    }
    return tuple(sorted(found))


def _copyright(path: Path, name: str) -> str:
    """Return the text of a package's copyright file; empty when another package has it."""
    content = read_file(path, f"usr/share/doc/{name}/copyright")
    return (content or b"").decode("utf-8", "replace")

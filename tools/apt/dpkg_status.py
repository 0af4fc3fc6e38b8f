"""Write what vulnerability and licence scanners read to see a package: its stanza and md5sums.

Both list only files that are in the image, so that a verifier finds nothing missing, and together
they list all of a package's files. dpkg's one `status` file could not be split over layers, so the
stanza is `var/lib/dpkg/status.d/NAME`, as in other images without a package manager. The sums are
where dpkg has them, `var/lib/dpkg/info/NAME.md5sums`, with a link `status.d/NAME.md5sums`: syft
and grype look for them beside the stanza and trivy in either place. Scanners that take every file
in `status.d` for a stanza (older versions of trivy) warn of each that is none, and skip links.
"""

import hashlib

from tools.apt.deb_contents import Package
from tools.apt.paths import merged
from tools.archive.layer import LayerWriter
from tools.cli import ToolError

_STATUS = "var/lib/dpkg/status.d"
_INFO = "var/lib/dpkg/info"


def add_entry(layer: LayerWriter, package: Package) -> None:
    """Add to a layer what lets scanners see a package. Raise ToolError as `md5sums` does."""
    layer.add_file(f"{_STATUS}/{package.name}", stanza(package), mode=0o644)
    sums = f"{package.name}.md5sums"
    layer.add_file(f"{_INFO}/{sums}", md5sums(package), mode=0o644)
    layer.add_symlink(f"{_STATUS}/{sums}", f"../info/{sums}")


def stanza(package: Package) -> bytes:
    """Return the control stanza as dpkg's status file would have it: with Status and Conffiles."""
    lines = package.control["control"].decode("utf-8").strip("\n").split("\n")
    position = 1 + next(i for i, line in enumerate(lines) if line.lower().startswith("package:"))
    # Scanners skip a package whose state they cannot tell from removed.
    lines.insert(position, "Status: install ok installed")
    configuration = _configuration(package)
    sums = [
        f" /{path} {_md5(member.data)}"
        for path, member in sorted(package.members.items())
        if path in configuration and member.data is not None
    ]
    if sums:
        lines += ["Conffiles:", *sums]
    return ("\n".join(lines) + "\n").encode()


def _configuration(package: Package) -> frozenset[str]:
    """Return the paths of configuration files in the image; md5sums never lists these."""
    lines = package.control.get("conffiles", b"").decode("utf-8").split("\n")
    # A line may begin with a flag (deb-conffiles(5)): "remove-on-upgrade" is for older versions.
    return frozenset(merged(line.lstrip("/")) for line in lines if line.startswith("/"))


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def md5sums(package: Package) -> bytes:
    """Return the package's md5sums for the files that are in the image, at their paths there.

    Sums are the packager's own where there are any, so that they witness what Debian built. Raise
    ToolError for a line that is not a sum and a path.
    """
    if "md5sums" not in package.control:
        return _own_md5sums(package)
    lines = []
    for line in package.control["md5sums"].decode("utf-8").splitlines():
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 32:
            raise ToolError(f"{package.source}: md5sums: {line!r} is not 'SUM  PATH'")
        path = merged(name.removeprefix("./"))
        if path in package.members:
            lines.append((path, digest))
    return _format(lines)


def _own_md5sums(package: Package) -> bytes:
    configuration = _configuration(package)
    return _format(
        [
            (path, _md5(member.data))
            for path, member in package.members.items()
            if member.data is not None and path not in configuration
        ]
    )


def _format(lines: list[tuple[str, str]]) -> bytes:
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(lines)).encode()

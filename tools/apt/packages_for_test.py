"""Make the records that tests resolve."""

from tools.apt.index import Package
from tools.apt.relations import parse


def package(
    name: str,
    version: str = "1",
    *,
    depends: str = "",
    conflicts: str = "",
    breaks: str = "",
    provides: str = "",
    priority: str = "optional",
    architecture: str = "amd64",
    archive: str = "debian",
) -> Package:
    """Return a record as a Packages file would give it."""
    return Package(
        name=name,
        version=version,
        architecture=architecture,
        archive=archive,
        filename=f"pool/{name}_{version}.deb",
        size=1,
        sha256="0" * 64,
        source=name,
        priority=priority,
        depends=parse(depends),
        conflicts=tuple(group[0] for group in parse(conflicts)),
        breaks=tuple(group[0] for group in parse(breaks)),
        provides=tuple(group[0] for group in parse(provides)),
    )

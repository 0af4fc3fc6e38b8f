"""Read relationship fields (Depends, Conflicts, Provides …) as Debian Policy 7.1 defines them.

`a (>= 1) | b, c:any` becomes two groups of alternatives. Nothing is skipped: text that is not a
relation raises, since a dependency that is overlooked is a broken image.
"""

import re
from dataclasses import dataclass

from tools.apt.versions import Operator, satisfies
from tools.cli import ToolError

# Policy 5.6.1 for the name; the qualifier is `any`, `native` or an architecture.
_RELATION = re.compile(
    r"""(?P<name>[a-z0-9][a-z0-9+.-]+)
        (?: : (?P<qualifier>[a-z0-9-]+) )?
        (?: \s* \( \s* (?P<operator><<|<=|=|>=|>>) \s* (?P<version>[^\s()]+) \s* \) )?""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Relation:
    """One alternative: a package name, perhaps with a version it must satisfy."""

    name: str
    operator: Operator | None = None
    version: str | None = None
    qualifier: str | None = None

    def allows(self, version: str | None) -> bool:
        """Return whether a package (or a Provides) of this version fits.

        None stands for an unversioned Provides, which fits unversioned relations only
        (Policy 7.5).
        """
        if self.operator is None or self.version is None:
            return True
        return version is not None and satisfies(version, self.operator, self.version)

    def __str__(self) -> str:
        name = self.name if self.qualifier is None else f"{self.name}:{self.qualifier}"
        if self.operator is None:
            return name
        return f"{name} ({self.operator.value} {self.version})"


Alternatives = tuple[Relation, ...]


def _relation(text: str, field: str) -> Relation:
    match = _RELATION.fullmatch(text.strip())
    if match is None:
        raise ToolError(
            f"{text.strip()!r} in {field!r} is not a relation (wanted: name (>= version))"
        )
    operator = match["operator"]
    return Relation(
        name=match["name"],
        operator=None if operator is None else Operator(operator),
        version=match["version"],
        qualifier=match["qualifier"],
    )


def parse(field: str) -> tuple[Alternatives, ...]:
    """Return the groups of alternatives of one field, in the order they were written.

    Raise ToolError for text that is not a relation.
    """
    if not field.strip():
        return ()
    return tuple(
        tuple(_relation(text, field) for text in group.split("|"))
        for group in field.rstrip().removesuffix(",").split(",")
    )

"""What packages say they need → which of an image's other packages that means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.apt.relations import parse
from tools.sbom.component import Component

_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def of_debs(components: Sequence[Component]) -> Iterator[Component]:
    """Yield the packages with the others that they depend on, of those that there are.

    Of alternatives, those that are there and fit: the package manager asks for no more.
    """
    providers: dict[str, list[tuple[str, str | None]]] = {}
    for each in components:
        providers.setdefault(each.name, []).append((each.ref, each.version))
        for group in each.provides:
            for relation in parse(group)[0]:
                providers.setdefault(relation.name, []).append((each.ref, relation.version))
    for each in components:
        refs = {
            ref
            for group in each.needs
            for relation in parse(group)[0]
            for ref, version in providers.get(relation.name, ())
            if relation.allows(version)
        }
        yield replace(each, depends=tuple(sorted(refs - {each.ref})))


def of_wheels(
    wheels: Sequence[Component], *, environment: Mapping[str, str]
) -> Iterator[Component]:
    """Yield the wheels with the others that they need, of those that there are.

    A requirement of an extra counts if all of that extra's requirements are there: metadata do not
    say which extras were asked for.
    """
    versions = {each.name: each for each in wheels}

    def there(requirement: Requirement) -> bool:
        found = versions.get(canonicalize_name(requirement.name))
        return found is not None and requirement.specifier.contains(
            str(found.version), prereleases=True
        )

    def applies(requirement: Requirement, extra: str) -> bool:
        marker = requirement.marker
        return marker is None or marker.evaluate({**environment, "extra": extra})

    for each in wheels:
        needed = [Requirement(text) for text in each.needs]
        extras = {extra for text in each.needs for extra in _EXTRA.findall(text)}
        held = [""]
        for extra in sorted(extras):
            own = [one for one in needed if applies(one, extra) and not applies(one, "")]
            held += [extra] if own and all(map(there, own)) else []
        refs = {
            versions[canonicalize_name(one.name)].ref
            for one in needed
            if there(one) and any(applies(one, extra) for extra in held)
        }
        yield replace(each, depends=tuple(sorted({*each.depends, *refs} - {each.ref})))

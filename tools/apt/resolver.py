"""Turn names into the closure of packages that apt would install on an empty system.

The rules, with `apt-get install --no-install-recommends` as the model:

- of several versions of a package, the newest wins, whichever suite has it;
- what is asked for is selected first, then dependencies depth first, in the order written;
- `a | b`: nothing to do when one of them is selected already, else the first that exists;
- a name stands for the real package before any package that provides it;
- of several providers the one of the highest priority wins, and a tie is an error, since apt's
  own choice would be an accident of its cache;
- Essential packages are *not* added: apt relies on their being there, an image need not.

Anything that stays unmet, and any conflict within the result, raises.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tools.apt.index import Package
from tools.apt.relations import Alternatives, Relation
from tools.apt.versions import compare
from tools.cli import ToolError

_PRIORITIES = ("required", "important", "standard", "optional", "extra")


@dataclass(frozen=True)
class Closure:
    """A resolved set: packages by name, and for each the names that meet its dependencies.

    `omitted` are the names that were not followed although something depends on them.
    """

    packages: Mapping[str, Package]
    depends: Mapping[str, tuple[str, ...]]
    omitted: frozenset[str] = frozenset()

    def reachable(self, names: Iterable[str], *, without: Collection[str] = ()) -> set[str]:
        """Return `names` and everything they need, directly or not, but for `without`.

        What only a package of `without` needs is not reached either.
        """
        found: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found and name not in without:
                found.add(name)
                waiting.extend(self.depends[name])
        return found


@dataclass(frozen=True)
class Universe:
    """The newest version of every package of one architecture, and who provides what."""

    architecture: str
    packages: Mapping[str, Package]
    providers: Mapping[str, tuple[Package, ...]]


def universe(packages: Iterable[Package], *, architecture: str) -> Universe:
    """Index `packages`, from all suites, in the order of the suites.

    Of equal versions the first suite's wins. Raise ToolError for a foreign architecture.
    """
    newest: dict[str, Package] = {}
    for package in packages:
        if package.architecture not in (architecture, "all"):
            raise ToolError(
                f"package {package.name!r} is for {package.architecture!r} in an index for"
                f" {architecture!r}"
            )
        known = newest.get(package.name)
        if known is None or compare(package.version, known.version) > 0:
            newest[package.name] = package
    providers: dict[str, list[Package]] = {}
    for package in newest.values():
        for name in {relation.name for relation in package.provides}:
            providers.setdefault(name, []).append(package)
    return Universe(
        architecture=architecture,
        packages=newest,
        providers={
            name: tuple(sorted(group, key=lambda package: (_rank(package), package.name)))
            for name, group in providers.items()
        },
    )


def resolve(
    universe: Universe, *, requested: Sequence[str], name: str, without: Collection[str] = ()
) -> Closure:
    """Return the closure of `requested`; `name` says in messages what is being resolved.

    A dependency that nothing selected meets is not followed if one of its alternatives is in
    `without`. Raise ToolError for unknown names, an unmet dependency or a conflict.
    """
    search = _Search(
        universe=universe, title=f"{name} ({universe.architecture})", without=frozenset(without)
    )
    unknown = [search.unknown(wanted) for wanted in requested if wanted not in universe.packages]
    if unknown:
        raise ToolError(f"{search.title}: {'; '.join(unknown)}")
    for wanted in requested:
        search.request(wanted)
    for wanted in requested:
        search.complete(wanted)
    search.refuse_conflicts()
    return Closure(
        packages=dict(sorted(search.selected.items())),
        depends={key: tuple(value) for key, value in sorted(search.depends.items())},
        omitted=frozenset(search.omitted),
    )


@dataclass
class _Search:
    universe: Universe
    title: str
    without: frozenset[str] = frozenset()
    omitted: set[str] = field(default_factory=set)
    selected: dict[str, Package] = field(default_factory=dict)
    depends: dict[str, list[str]] = field(default_factory=dict)
    parent: dict[str, str | None] = field(default_factory=dict)

    def unknown(self, name: str) -> str:
        providers = [found.name for found in self.universe.providers.get(name, ())]
        hint = f", ask for one of its providers: {', '.join(providers)}" if providers else ""
        return f"there is no package {name!r}{hint}"

    def request(self, name: str) -> None:
        self.selected[name] = self.universe.packages[name]
        self.parent[name] = None

    def complete(self, name: str) -> None:
        """Select what `name` depends on, and so on down."""
        if name in self.depends:
            return
        edges = self.depends[name] = []
        for group in self.selected[name].depends:
            chosen = self._selected(group)
            left_out = self.without.intersection(relation.name for relation in group)
            if chosen is None and left_out:
                self.omitted |= left_out
                continue
            chosen = chosen or self._choose(group, needed_by=name)
            if chosen.name not in self.selected:
                self.selected[chosen.name] = chosen
                self.parent[chosen.name] = name
            if chosen.name != name and chosen.name not in edges:
                edges.append(chosen.name)
            self.complete(chosen.name)

    def refuse_conflicts(self) -> None:
        """Raise when two selected packages exclude each other."""
        for package in self.selected.values():
            relations = [("conflicts with", relation) for relation in package.conflicts]
            relations += [("breaks", relation) for relation in package.breaks]
            for verb, relation in relations:
                for other in self._matches(relation, self.selected.values()):
                    # A package may exclude every other provider of what it provides (Policy 7.6).
                    if other.name != package.name:
                        raise ToolError(
                            f"{self.title}: {self._chain(package.name)} {package.version} {verb}"
                            f" '{relation}', which is {self._chain(other.name)} {other.version};"
                            " ask for only one of them"
                        )

    def _selected(self, group: Alternatives) -> Package | None:
        for relation in group:
            real = self.selected.get(relation.name)
            if real is not None and self._fits(relation, real):
                return real
            for package in self.universe.providers.get(relation.name, ()):
                if package.name in self.selected and self._fits(relation, package):
                    return package
        return None

    def _choose(self, group: Alternatives, *, needed_by: str) -> Package:
        for relation in group:
            real = self.universe.packages.get(relation.name)
            if real is not None and self._fits(relation, real):
                return real
            providers = list(
                self._matches(relation, self.universe.providers.get(relation.name, ()))
            )
            best = [package for package in providers if _rank(package) == _rank(providers[0])]
            if len(best) > 1:
                raise ToolError(
                    f"{self.title}: {self._chain(needed_by)} needs '{relation}', which"
                    f" {' and '.join(package.name for package in best)} provide with the same"
                    " priority; ask for one of them by name"
                )
            if best:
                return best[0]
        wanted = " | ".join(str(relation) for relation in group)
        raise ToolError(
            f"{self.title}: {self._chain(needed_by)} needs '{wanted}', found {self._known(group)}"
        )

    def _known(self, group: Alternatives) -> str:
        found = []
        for relation in group:
            real = self.universe.packages.get(relation.name)
            if real is not None:
                found.append(f"{real.name} {real.version}")
            found += [
                f"{package.name} {package.version} (provides {relation.name})"
                for package in self.universe.providers.get(relation.name, ())
            ]
        return ", ".join(found) or "no such package in any suite"

    def _matches(self, relation: Relation, packages: Iterable[Package]) -> Iterable[Package]:
        return (package for package in packages if self._fits(relation, package))

    def _fits(self, relation: Relation, package: Package) -> bool:
        """Return whether `package` meets `relation`, by its own name or by what it provides."""
        # There is one architecture here: a foreign qualifier can only be met by nothing.
        if relation.qualifier not in (None, "any", "native", self.universe.architecture):
            return False
        if package.name == relation.name and relation.allows(package.version):
            return True
        return any(
            provided.name == relation.name and relation.allows(provided.version)
            for provided in package.provides
        )

    def _chain(self, name: str) -> str:
        """Return how `name` came to be selected, from a requested package down."""
        names = [name]
        while (above := self.parent[names[-1]]) is not None:
            names.append(above)
        return " → ".join(reversed(names))


def _rank(package: Package) -> int:
    try:
        return _PRIORITIES.index(package.priority)
    except ValueError:
        return len(_PRIORITIES)

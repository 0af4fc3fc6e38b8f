"""The walk through Requires-Dist, with markers of a machine that the tests do not run on."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from tools.cli import ToolError
from tools.wheels.closure import Closure, Distribution, Needed, Root, find_closure
from tools.wheels.target import Target

_ENVIRONMENT = Target(arch="arm64", python="3.11.2", glibc_minor=36).marker_environment


def _distribution(
    name: str, *requires: str, version: str = "1.0", extras: tuple[str, ...] = ()
) -> Distribution:
    return Distribution(
        name=name, version=version, requires_dist=requires, provides_extra=frozenset(extras)
    )


def _close(roots: list[str], *distributions: Distribution) -> Closure:
    return find_closure(
        [Root(requirement=Requirement(line), source="in") for line in roots],
        distributions={distribution.name: distribution for distribution in distributions},
        environment=_ENVIRONMENT,
    )


def test_requirements_of_another_machine_are_not_followed() -> None:
    closure = _close(
        ["a"], _distribution("a", "b; platform_machine == 'x86_64'"), _distribution("b")
    )
    assert set(closure.needed) == {"a"}


def test_a_requirement_only_the_target_has_is_reported_missing_without_its_marker() -> None:
    closure = _close(["a"], _distribution("a", "b[x]>=2; platform_machine == 'aarch64'"))
    assert closure.missing == ("b[x]>=2",)


def test_a_patch_version_in_a_marker_counts() -> None:
    closure = _close(
        ["redis"], _distribution("redis", "async-timeout; python_full_version < '3.11.3'")
    )
    assert closure.missing == ("async-timeout",)


def test_an_extra_brings_its_requirements_and_is_remembered() -> None:
    closure = _close(
        ["celery[redis]"],
        _distribution("celery", "kombu[Redis]; extra == 'redis'", extras=("redis",)),
        _distribution("kombu", "redis; extra == 'redis'", extras=("redis",)),
        _distribution("redis"),
    )
    assert closure.needed["kombu"] == Needed(extras=frozenset({"redis"}), via=frozenset({"celery"}))
    assert closure.needed["redis"] == Needed(extras=frozenset(), via=frozenset({"kombu"}))


def test_an_extra_asked_for_later_is_followed_as_well() -> None:
    closure = _close(
        ["a[x]", "b", "a"],
        _distribution("a", "c; extra == 'x'", extras=("x",)),
        _distribution("b", "a"),
        _distribution("c"),
    )
    assert closure.needed["c"].via == {"a"}
    assert closure.needed["a"].via == {"in", "b"}


def test_an_extra_that_names_its_own_package_does_not_loop() -> None:
    closure = _close(
        ["a[all]"],
        _distribution("a", "a[x]; extra == 'all'", "b; extra == 'x'", extras=("all", "x")),
        _distribution("b", "a"),
    )
    assert closure.needed["a"] == Needed(extras=frozenset({"all", "x"}), via=frozenset({"in", "b"}))


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("a>=2", "in requires a>=2, but a 1.0 was chosen"),
        ("a[y]", r"in requires a\[y\], but a 1.0 has no extra \['y'\]"),
        ("b", "b: its metadata holds an invalid requirement 'not a requirement'"),
    ],
)
def test_a_contradiction_is_an_error_that_names_both_sides(root: str, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        _close([root], _distribution("a", extras=("x",)), _distribution("b", "not a requirement"))

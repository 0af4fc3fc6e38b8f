"""Small indexes, one for each rule in resolver.py's docstring and one for each error."""

from collections.abc import Sequence

import pytest

from tools.apt.index import Package
from tools.apt.packages_for_test import package
from tools.apt.resolver import Closure, resolve, universe
from tools.cli import ToolError


def closure(requested: Sequence[str], *packages: Package) -> Closure:
    """Resolve `requested` among `packages`."""
    known = universe(packages, architecture="amd64")
    return resolve(known, requested=requested, name="image")


def names(requested: Sequence[str], *packages: Package) -> list[str]:
    """Return the names that are chosen."""
    return list(closure(requested, *packages).packages)


def refusal(requested: Sequence[str], *packages: Package) -> str:
    """Return the message with which the resolver refuses."""
    with pytest.raises(ToolError) as caught:
        closure(requested, *packages)
    return str(caught.value)


def test_dependencies_are_followed_all_the_way_down() -> None:
    result = closure(
        ["app"],
        package("app", depends="lib (>= 1)"),
        package("lib", depends="base"),
        package("base"),
        package("unrelated"),
    )
    assert list(result.packages) == ["app", "base", "lib"]
    assert result.depends == {"app": ("lib",), "lib": ("base",), "base": ()}


def test_a_cycle_ends() -> None:
    assert names(["aa"], package("aa", depends="bb"), package("bb", depends="aa")) == ["aa", "bb"]


def test_the_newest_version_wins_whichever_suite_comes_first() -> None:
    result = closure(
        ["lib"],
        package("lib", "1.9-1"),
        package("lib", "1.10-1", archive="debian-security"),
        package("lib", "1.10~rc1-1"),
    )
    assert result.packages["lib"].version == "1.10-1"


def test_of_equal_versions_the_first_suite_wins() -> None:
    result = closure(["lib"], package("lib"), package("lib", archive="debian-security"))
    assert result.packages["lib"].archive == "debian"


def test_the_first_alternative_is_preferred() -> None:
    app = package("app", depends="first | second")
    assert names(["app"], app, package("second"), package("first")) == ["app", "first"]


def test_an_alternative_that_is_selected_already_wins() -> None:
    app = package("app", depends="other, first | second")
    other = package("other", depends="second")
    known = (app, other, package("first"), package("second"))
    assert names(["app"], *known) == ["app", "other", "second"]


def test_what_is_asked_for_later_counts_as_selected() -> None:
    app = package("app", depends="first | second")
    known = (app, package("first"), package("second"))
    assert names(["app", "second"], *known) == ["app", "second"]


def test_an_alternative_whose_version_does_not_fit_is_passed_over() -> None:
    app = package("app", depends="first (>= 2) | second")
    assert names(["app"], app, package("first"), package("second")) == ["app", "second"]


def test_a_real_package_comes_before_one_that_provides_its_name() -> None:
    known = (package("app", depends="mail"), package("mail"), package("exim", provides="mail"))
    assert names(["app"], *known) == ["app", "mail"]


def test_a_provider_is_chosen_when_no_real_package_exists() -> None:
    known = (package("app", depends="mail"), package("exim", provides="mail"))
    assert names(["app"], *known) == ["app", "exim"]


def test_a_selected_provider_meets_a_need() -> None:
    known = (
        package("app", depends="exim, mail"),
        package("mail"),
        package("exim", provides="mail"),
    )
    assert names(["app"], *known) == ["app", "exim"]


def test_a_versioned_need_takes_a_versioned_provides_only() -> None:
    app = package("app", depends="api (>= 2)")
    known = (
        app,
        package("old", "9", provides="api (= 1)"),
        package("plain", "9", provides="api"),
        package("new", "9", provides="api (= 2.1)"),
    )
    assert names(["app"], *known) == ["app", "new"]


def test_the_provider_of_the_highest_priority_wins() -> None:
    known = (
        package("app", depends="awk"),
        package("gawk", provides="awk"),
        package("mawk", provides="awk", priority="required"),
    )
    assert names(["app"], *known) == ["app", "mawk"]


def test_providers_of_equal_priority_are_refused_by_name() -> None:
    message = refusal(
        ["app"],
        package("app", depends="mail"),
        package("postfix", provides="mail"),
        package("exim", provides="mail"),
    )
    assert message == (
        "image (amd64): app needs 'mail', which exim and postfix provide with the same priority;"
        " ask for one of them by name"
    )


def test_an_unmet_dependency_names_the_chain_and_what_there_is() -> None:
    message = refusal(
        ["app"],
        package("app", depends="lib"),
        package("lib", depends="base (>= 3) | none"),
        package("base", "2"),
    )
    assert message == ("image (amd64): app → lib needs 'base (>= 3) | none', found base 2")


def test_an_unmet_dependency_on_nothing_known_says_so() -> None:
    message = refusal(["app"], package("app", depends="none"))
    assert message == "image (amd64): app needs 'none', found no such package in any suite"


def test_a_request_for_nothing_known_is_refused() -> None:
    assert refusal(["typo"], package("app")) == "image (amd64): there is no package 'typo'"


def test_a_request_for_a_virtual_package_names_its_providers() -> None:
    assert refusal(["mail"], package("exim", provides="mail")) == (
        "image (amd64): there is no package 'mail', ask for one of its providers: exim"
    )


@pytest.mark.parametrize(("field", "verb"), [("conflicts", "conflicts with"), ("breaks", "breaks")])
def test_packages_that_exclude_each_other_are_refused_with_both_chains(
    field: str, verb: str
) -> None:
    lib = package("lib", **{field: "other (<< 2)"})
    message = refusal(["app", "other"], package("app", depends="lib"), lib, package("other", "1.5"))
    assert message == (
        f"image (amd64): app → lib 1 {verb} 'other (<< 2)', which is other 1.5;"
        " ask for only one of them"
    )


def test_a_conflict_with_another_version_is_none() -> None:
    known = (package("aa", conflicts="bb (<< 2)", breaks="bb (= 3)"), package("bb", "2"))
    assert names(["aa", "bb"], *known) == ["aa", "bb"]


def test_a_conflict_reaches_what_is_provided() -> None:
    known = (package("aa", conflicts="api"), package("bb", provides="api"))
    assert "aa 1 conflicts with 'api', which is bb 1" in refusal(["aa", "bb"], *known)


def test_a_package_may_exclude_all_other_providers_of_what_it_provides() -> None:
    known = (package("exim", provides="mail", conflicts="mail"),)
    assert names(["exim"], *known) == ["exim"]


@pytest.mark.parametrize("qualifier", ["any", "native", "amd64"])
def test_a_qualifier_of_this_architecture_is_met(qualifier: str) -> None:
    known = (package("app", depends=f"python3:{qualifier}"), package("python3"))
    assert names(["app"], *known) == ["app", "python3"]


def test_a_qualifier_of_another_architecture_is_not() -> None:
    known = (package("app", depends="python3:arm64"), package("python3"))
    assert "app needs 'python3:arm64', found python3 1" in refusal(["app"], *known)


def test_essential_packages_are_not_added() -> None:
    assert names(["app"], package("app"), package("dpkg", priority="required")) == ["app"]


def test_packages_for_all_architectures_belong_to_each() -> None:
    assert names(["data"], package("data", architecture="all")) == ["data"]


def test_an_index_of_another_architecture_is_refused() -> None:
    with pytest.raises(ToolError, match="'app' is for 'arm64' in an index for 'amd64'"):
        universe([package("app", architecture="arm64")], architecture="amd64")


def test_what_a_name_reaches_is_its_closure() -> None:
    result = closure(
        ["app", "tool"],
        package("app", depends="lib"),
        package("tool", depends="base"),
        package("lib", depends="base"),
        package("base"),
    )
    assert result.reachable(["tool"]) == {"tool", "base"}


def test_what_only_something_left_out_needs_is_left_out_as_well() -> None:
    result = closure(
        ["app"],
        package("app", depends="installer, base"),
        package("installer", depends="perl, base"),
        package("perl"),
        package("base"),
    )
    assert result.reachable(["app"], without=["installer"]) == {"app", "base"}

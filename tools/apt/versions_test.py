import pytest

from tools.apt.versions import Operator, compare, satisfies

# From deb-version(7), Debian Policy 5.6.12 and versions that bookworm really has.
_ASCENDING = [
    ("1.0~rc1", "1.0"),
    ("1.0~~", "1.0~"),
    ("1.0~", "1.0"),
    ("1.9", "1.10"),
    ("1.0", "1.0-0.1"),
    ("1.0-1", "1.0-1+b1"),
    ("1.0-1", "1.0-1+deb12u1"),
    ("2.36-9+deb12u9", "2.36-9+deb12u14"),
    ("99", "1:0"),
    ("1:1.2.11.dfsg-1", "1:1.2.13.dfsg-1"),
    ("5.1.6-0+deb12u1", "5.1.9-0+deb12u1"),
    ("1.2a3", "1.2.3"),
    ("1.2a", "1.2+"),
    ("1.2+", "1.2.1"),
    ("7:5.1", "8:1"),
    ("3.0-1", "3.0a-1"),
]


@pytest.mark.parametrize(("older", "newer"), _ASCENDING)
def test_order_is_that_of_dpkg(older: str, newer: str) -> None:
    assert compare(older, newer) < 0
    assert compare(newer, older) > 0


@pytest.mark.parametrize(("one", "other"), [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.01", "1.1")])
def test_versions_that_only_look_different_are_equal(one: str, other: str) -> None:
    assert compare(one, other) == 0


@pytest.mark.parametrize(
    ("operator", "holds"),
    [
        (Operator.EARLIER, (True, False, False)),
        (Operator.EARLIER_EQUAL, (True, True, False)),
        (Operator.EQUAL, (False, True, False)),
        (Operator.LATER_EQUAL, (False, True, True)),
        (Operator.LATER, (False, False, True)),
    ],
)
def test_each_operator_judges_older_equal_and_newer(
    operator: Operator, holds: tuple[bool, bool, bool]
) -> None:
    assert tuple(satisfies(version, operator, "2") for version in ("1", "2", "3")) == holds


@pytest.mark.parametrize("version", ["not a version", "", "-1", "1-", "1:2-3:4", "1.0:2", "1²"])
def test_an_invalid_version_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=f"{version!r} is not a Debian version"):
        compare(version, "1")


def test_a_version_that_would_take_long_to_read_is_refused() -> None:
    assert compare("a" * 1024, "a" * 1024) == 0
    with pytest.raises(ValueError, match="a version of 1025 characters"):
        compare("a" * 1025, "1")

"""Go's semantics: permission strings, os.Expand, RE2."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.archive.tar_stream import TarStream
from tools.image.images_for_test import Member, tar_bytes
from tools.image.tree import Entry
from tools.structure_test.go_text import PatternError, expand, file_mode, search

# What Go's documentation of os.FileMode and its String method print, typed by hand.
KNOWN = [
    ("file", 0o644, "-rw-r--r--"),
    ("file", 0o000, "----------"),
    ("file", 0o777, "-rwxrwxrwx"),
    ("file", 0o4755, "urwxr-xr-x"),
    ("file", 0o2755, "grwxr-xr-x"),
    ("file", 0o6755, "ugrwxr-xr-x"),
    ("file", 0o1644, "trw-r--r--"),
    ("dir", 0o755, "drwxr-xr-x"),
    ("dir", 0o1777, "dtrwxrwxrwx"),
    ("dir", 0o2775, "dgrwxrwxr-x"),
    ("dir", 0o7777, "dugtrwxrwxrwx"),
    ("symlink", 0o777, "Lrwxrwxrwx"),
    ("char", 0o666, "Dcrw-rw-rw-"),
    ("block", 0o660, "Drw-rw----"),
    ("fifo", 0o600, "prw-------"),
    ("char", 0o1666, "Dctrw-rw-rw-"),
]


@pytest.mark.parametrize(("kind", "mode", "expected"), KNOWN)
def test_permissions_print_as_in_go(kind: str, mode: int, expected: str) -> None:
    assert file_mode(Entry(kind, mode)) == expected


TAR_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "block": tarfile.BLKTYPE,
    "char": tarfile.CHRTYPE,
    "fifo": tarfile.FIFOTYPE,
}
# An oracle of its own: the bits of Go's os.FileMode as its documentation defines them, from the
# most significant down, the letters its String method gives them, and how archive/tar maps a
# header to them.
LETTERS = "dalTLDpSugct?"
BIT = {letter: 1 << (31 - place) for place, letter in enumerate(LETTERS)}
TYPE_BITS = {
    "file": 0,
    "dir": BIT["d"],
    "symlink": BIT["L"],
    "block": BIT["D"],
    "char": BIT["D"] | BIT["c"],
    "fifo": BIT["p"],
}


def go_mode(kind: str, mode: int) -> int:
    """The os.FileMode that archive/tar gives a header."""
    special = ((0o4000, BIT["u"]), (0o2000, BIT["g"]), (0o1000, BIT["t"]))
    return TYPE_BITS[kind] | mode & 0o777 | sum(bit for tar, bit in special if mode & tar)


def go_string(bits: int) -> str:
    """What FileMode.String() prints: a letter for each high bit, `-` if there is none, rwx."""
    high = "".join(letter for letter in LETTERS if bits & BIT[letter])
    low = "".join(
        letter if bits & 1 << (8 - place) else "-" for place, letter in enumerate("rwxrwxrwx")
    )
    return (high or "-") + low


def test_the_oracle_prints_known_modes() -> None:
    for kind, mode, expected in KNOWN:
        assert go_string(go_mode(kind, mode)) == expected


def test_all_modes_of_all_types_print_as_in_go() -> None:
    for kind in TYPE_BITS:
        for mode in range(0o10000):
            assert file_mode(Entry(kind, mode)) == go_string(go_mode(kind, mode))


@given(st.sampled_from(sorted(TYPE_BITS)), st.integers(0, 0o7777))
def test_a_mode_survives_the_way_through_an_archive(kind: str, mode: int) -> None:
    member = Member("x", kind=TAR_TYPES[kind], mode=mode, link="y" if kind == "symlink" else "")
    stream = TarStream(iter([tar_bytes([member])]), source="test")
    (header,) = stream
    assert file_mode(Entry(header.kind, header.mode)) == go_string(go_mode(kind, mode))


NAMES = st.text("ABCxyz_09", min_size=1, max_size=5).filter(lambda name: not name[0].isdigit())


@given(
    st.lists(st.tuples(NAMES, st.text("abc-./ \n"))), st.dictionaries(NAMES, st.text(max_size=5))
)
def test_expanding_replaces_names_and_nothing_else(
    pieces: list[tuple[str, str]], env: dict[str, str]
) -> None:
    template = "".join(f"${{{name}}}{text}" for name, text in pieces)
    assert expand(template, env) == "".join(env.get(name, "") + text for name, text in pieces)


@given(st.text())
def test_text_without_a_dollar_is_left_alone(text: str) -> None:
    plain = text.replace("$", "")
    assert expand(plain, {"A": "1"}) == plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A/${B}", "1/two"),
        ("$missing-", "-"),
        ("${missing}", ""),
        ("$A$A", "11"),
        ("$AB", ""),
        ("cost: 5$", "cost: 5$"),
        ("$ A", "$ A"),
        ("$/x", "$/x"),
        ("$$", ""),
        ("$1x", "x"),
        ("${}x", "x"),
        ("${A", "A"),
        ("${*}x", "x"),
        ("plain", "plain"),
        ("é$A", "é1"),
    ],
)
def test_variables_expand_as_in_go(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "two"}) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("a.c", "a\nc", False),
        ("(?s)a.c", "a\nc", True),
        ("^c$", "b\nc", False),
        ("(?m)^c$", "b\nc", True),
        ("c$", "c\n", False),
        (r"\pL+", "é", True),
        ("", "anything", True),
    ],
)
def test_patterns_match_as_in_go(pattern: str, text: str, found: bool) -> None:
    assert search(pattern, text) is found


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)"])
def test_a_pattern_that_re2_lacks_is_an_error(pattern: str) -> None:
    with pytest.raises(PatternError) as caught:
        search(pattern, "a")
    assert str(caught.value).startswith(f"the regular expression {pattern!r} is invalid: ")

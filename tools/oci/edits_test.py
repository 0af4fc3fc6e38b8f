"""The text formats of `oci_image`, and how edits merge into a config."""

from __future__ import annotations

from typing import Any

import pytest

from tools.cli import ToolError
from tools.oci import edits
from tools.oci.edits import ImageEdits, apply_edits, merge_env


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", ()),
        ("a\nb c\n", ("a", "b c")),
        ("a\nb", ("a", "b")),
        ("a\n\nb\n", ("a", "", "b")),
        ("\n", ("",)),
        ("-c\nx,y\n", ("-c", "x,y")),
        ("one%5Cntwo\n", ("one\ntwo",)),
        ("a\rb\n\rc\n", ("a\rb", "\rc")),
        ("echo a\r%5Cnecho b\n", ("echo a\r\necho b",)),
    ],
)
def test_arguments_are_lines_and_empty_ones_count(text: str, arguments: tuple[str, ...]) -> None:
    assert edits.parse_arguments(text) == arguments


def test_pairs_split_at_the_first_equals_sign_and_blank_lines_do_not_count() -> None:
    parsed = edits.parse_pairs("A==V=\n\nB=\n  \nC= x \n", what="env")
    assert parsed == (("A", "=V="), ("B", ""), ("C", " x "))


def test_a_carriage_return_is_part_of_a_value() -> None:
    assert edits.parse_pairs("A=x\rB=y\n", what="env") == (("A", "x\rB=y"),)


@pytest.mark.parametrize("line", ["novalue", "=x"])
def test_a_line_without_a_key_or_equals_sign_is_refused(line: str) -> None:
    with pytest.raises(ToolError, match=f"labels: line 2 must be 'key=value', found '{line}'"):
        edits.parse_pairs(f"a=b\n{line}\n", what="labels")


def test_sets_are_separated_by_commas_or_lines() -> None:
    assert edits.parse_set("/a, /b\n/c,\n") == ("/a", "/b", "/c")
    assert edits.parse_ports("8000/tcp,53/udp,5000,9000-9010\n") == (
        "8000/tcp",
        "53/udp",
        "5000",
        "9000-9010",
    )


@pytest.mark.parametrize("port", ["http", "80/icmp", "123456", "80:80"])
def test_an_invalid_port_is_refused(port: str) -> None:
    with pytest.raises(ToolError, match=f"exposed_ports: must be 'port', .* found '{port}'"):
        edits.parse_ports(port)


@pytest.mark.parametrize("time", ["2024-02-29T12:00:00Z", "2024-01-01T00:00:00.5+01:00"])
def test_a_time_loses_the_newline_of_its_file(time: str) -> None:
    assert edits.parse_time(f"{time}\n") == time


@pytest.mark.parametrize("time", ["", "2024-02-30T12:00:00Z", "2024-01-01", "1704067200"])
def test_an_invalid_time_is_refused(time: str) -> None:
    with pytest.raises(ToolError, match=f"created: must be a time .* found '{time}'"):
        edits.parse_time(time)


@pytest.mark.parametrize(
    ("base", "added", "merged"),
    [
        ([], [("A", "1"), ("B", "$A:${A}")], ["A=1", "B=1:1"]),
        (["PATH=/bin"], [("PATH", "/app:$PATH")], ["PATH=/app:/bin"]),
        (["A=1", "B=2", "C=3"], [("B", "x"), ("D", "4")], ["A=1", "B=x", "C=3", "D=4"]),
        # As a shell and rules_oci do: what is not set is empty, and there is no escape.
        ([], [("A", "<$NONE:${NONE}>")], ["A=<:>"]),
        ([], [("A", "======$$$$")], ["A=======$$$$"]),
        (["X=1"], [("A", r"\$X $$X")], ["X=1", r"A=\1 $1"]),
        ([], [("1", "v"), ("R", "$1:${1}")], ["1=v", "R=v:v"]),
        # Changed in place: a later line sees the new value.
        (["P=a"], [("P", "$P:b"), ("Q", "$P"), ("P", "c")], ["P=c", "Q=a:b"]),
        (["EMPTY", "A=1"], [("B", "$EMPTY$A")], ["EMPTY=", "A=1", "B=1"]),
    ],
)
def test_environments_merge(
    base: list[str], added: list[tuple[str, str]], merged: list[str]
) -> None:
    assert merge_env(base, added) == merged


BASE: dict[str, Any] = {
    "os": "linux",
    "created": "2020-01-01T00:00:00Z",
    "author": "someone",
    "config": {
        "Cmd": ["old"],
        "Entrypoint": ["/old"],
        "Env": ["A=1"],
        "ExposedPorts": {"1/tcp": {}},
        "Labels": {"a": "1", "b": "2"},
        "StopSignal": "SIGINT",
        "User": "nobody",
        "Volumes": {"/v": {}},
        "WorkingDir": "/w",
    },
}


def test_without_edits_nothing_changes() -> None:
    assert apply_edits(BASE, ImageEdits()) == BASE


def test_edits_merge_over_the_base_and_leave_it_alone() -> None:
    before = str(BASE)
    merged = apply_edits(
        BASE,
        ImageEdits(
            cmd=("new",),
            env=(("B", "$A"),),
            labels=(("b", "3"), ("c", "4")),
            exposed_ports=("2/udp",),
            volumes=("/x",),
            user="1000:1000",
            workdir="/app",
            created="2021-01-01T00:00:00Z",
        ),
    )
    assert merged["config"] == {
        "Cmd": ["new"],
        "Entrypoint": ["/old"],
        "Env": ["A=1", "B=1"],
        "ExposedPorts": {"1/tcp": {}, "2/udp": {}},
        "Labels": {"a": "1", "b": "3", "c": "4"},
        "StopSignal": "SIGINT",
        "User": "1000:1000",
        "Volumes": {"/v": {}, "/x": {}},
        "WorkingDir": "/app",
    }
    assert (merged["created"], merged["author"]) == ("2021-01-01T00:00:00Z", "someone")
    assert str(BASE) == before


def test_an_entrypoint_drops_the_inherited_command_but_not_its_own() -> None:
    alone = apply_edits(BASE, ImageEdits(entrypoint=("/new",)))["config"]
    assert alone["Entrypoint"] == ["/new"]
    assert "Cmd" not in alone
    both = apply_edits(BASE, ImageEdits(entrypoint=("/new",), cmd=("x",)))["config"]
    assert both["Cmd"] == ["x"]


def test_an_empty_list_is_a_value() -> None:
    merged = apply_edits(BASE, ImageEdits(entrypoint=(), cmd=()))["config"]
    assert (merged["Entrypoint"], merged["Cmd"]) == ([], [])

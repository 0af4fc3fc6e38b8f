"""Each rule of envFile's format, with what godotenv 1.5.1 makes of the same bytes."""

from __future__ import annotations

import pytest

from tools.cli import ToolError
from tools.structure_test.env_file import parse_env_file

FILES: list[tuple[bytes, dict[str, str]]] = [
    (b"", {}),
    (b"A=1", {"A": "1"}),
    (b"A=1\nB=2\n", {"A": "1", "B": "2"}),
    (b"A=1\nA=2\n", {"A": "2"}),
    # Both kinds of line end; a lone carriage return ends an unquoted value as well.
    (b"A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    (b"A=1\rB=2\n", {"A": "1", "B": "2"}),
    # Space, also that of Latin-1, around names and values; other separators of lines belong to
    # the value.
    (b"\n\t A \t=\v 1 \f\n", {"A": "1"}),
    ("\u2003A =\u00a01\u0085\n".encode(), {"A": "1"}),
    ("A=1\u2028B=2\x1c\n".encode(), {"A": "1\u2028B=2\x1c"}),
    (b"A B=1\n", {"A B": "1"}),
    # Names: letters, digits, '_' and '.', byte by byte as if they were Latin-1.
    (b"a.b_9=1\n", {"a.b_9": "1"}),
    (b"9=1\n", {"9": "1"}),
    ("\u00e0=1\n".encode(), {"\u00e0": "1"}),
    (b"A: 1\nB:=2\nC=:3\n", {"A": "1", "B": "=2", "C": ":3"}),
    # What has no name or no value is left out.
    (b"A=\nB=''\nC=\"\"\n=4\nD=5\n", {"D": "5"}),
    (b"A=1\nB", {"A": "1"}),
    (b"export A=1\nexport\tB=2\nexport=3\nexported=4\n",
     {"A": "1", "B": "2", "export": "3", "exported": "4"}),
    (b"export export=1", {"export": "1"}),
    # Comments: whole lines, and what follows the last blank and '#' of an unquoted value.
    (b"# A=1\n  # B=2\nC=3 # 4\n#", {"C": "3"}),
    (b"A=1#2\nB=1 #2 #3\nC=#1\nD= # 1\n", {"A": "1#2", "B": "1 #2", "C": "#1", "D": "# 1"}),
    (b"A=\"1 # 2\" # 3\nB='4 # 5'# 6\n", {"A": "1 # 2", "B": "4 # 5"}),
    # Quotes count at the beginning of a value, and every one of them is removed at its ends.
    (b"A=1\"2\"\nB='1' C=2\n", {"A": '1"2"', "B": "1", "C": "2"}),
    (b"A='1\n2'\nB=\"3\n4\"\n", {"A": "1\n2", "B": "3\n4"}),
    (b"A=' 1 '\nB=\"' 2 '\"\nC='\"3\"'\n", {"A": " 1 ", "B": "' 2 '", "C": '"3"'}),
    (rb"A='1\'2' B='\n' ", {"A": r"1\'2", "B": r"\n"}),
    (rb'A="\"1\" 2"', {"A": '"1" 2'}),
    (rb'A="1\""', {"A": "1\\"}),
    # Escapes between double quotes only.
    (rb'A="1\n2\r3\t4\\n5\\\\6"', {"A": "1\n2\r3t4\\n5\\\\6"}),
    (rb"A=1\n2", {"A": r"1\n2"}),
    # Variables of the same file, above, in capitals; none between single quotes.
    (b"A=1\nB=$A-${A}-$A_\nC='$A'\n", {"A": "1", "B": "1-1-", "C": "$A"}),
    (b'B=[$A]\nA=1\nC="[$A]"\n', {"B": "[]", "A": "1", "C": "[1]"}),
    (b"a=1\nB=$a\nC=$$\nD=${}\nE=1$\n", {"a": "1", "B": "$a", "C": "$$", "D": "${}", "E": "1$"}),
    (rb"A=1\x0aB=\$A\x0aC=\${A}".replace(rb"\x0a", b"\n"), {"A": "1", "B": "$A", "C": "${A}"}),
    (b"A=1\nB=$(A)\n", {"A": "1", "B": "1)"}),
    # Bytes that are not UTF-8.
    (b"A=\xff\nB='\xff'\n", {"A": "\ufffd", "B": "\udcff"}),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), FILES)
def test_a_file_is_read_as_godotenv_reads_it(data: bytes, expected: dict[str, str]) -> None:
    assert parse_env_file(data) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"A=1\nB\nC=1\n", "line 2: unexpected character '\\n' in a variable's name"),
        (b"A=1\n\nB-C=secret\n", "line 3: unexpected character '-' in a variable's name"),
        (b"A='1'2\n", "line 1: unexpected character '\\n' in a variable's name"),
        ("\u00a9=1".encode(), "line 1: unexpected character '\u00a9' in a variable's name"),
        (b'A=1\nB="secret\nC=1\n', "line 2: a quoted value has no end"),
        (b"A='secret\\'", "line 1: a quoted value has no end"),
        (b"A=1\nexport ", "line 2: a name is missing after 'export'"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_the_line_and_no_value(
    data: bytes, message: str
) -> None:
    with pytest.raises(ToolError) as caught:
        parse_env_file(data)
    assert str(caught.value) == message

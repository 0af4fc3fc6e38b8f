"""Control data is read as deb822(5) says, and a line that is none is refused with its number."""

import pytest

from tools.archive.deb822 import ControlError, paragraphs


def test_paragraphs_have_lower_case_names_and_keep_the_line_breaks_of_values() -> None:
    text = "Package: aa\nDescription: short\n long\n .\n  code\n\n\n# comment\nPackage:bb\n"
    assert list(paragraphs(text)) == [
        {"package": "aa", "description": "short\nlong\n.\n code"},
        {"package": "bb"},
    ]


def test_nothing_but_comments_and_empty_lines_is_no_paragraph() -> None:
    assert list(paragraphs("")) == []
    assert list(paragraphs("\n# comment\n\n\n#\n")) == []


@pytest.mark.parametrize(
    ("text", "number", "message"),
    [
        (" lost\n", 1, "line 1: continuation line ' lost' comes before any field"),
        ("Aa: 1\n\n lost\n", 3, "line 3: continuation line ' lost' comes before any field"),
        ("# c\nAa: 1\naa: 2\n", 3, "line 3: field 'aa' appears twice"),
        ("Aa: 1\n\n\n\nBb: 2\n: 1\n", 6, "line 6: ': 1' is not a 'Name: value' line"),
        ("garbage\n", 1, "line 1: 'garbage' is not a 'Name: value' line"),
        ("A b: 1\n", 1, "line 1: 'A b: 1' is not a 'Name: value' line"),
    ],
)
def test_malformed_control_data_is_refused_with_line_and_cause(
    text: str, number: int, message: str
) -> None:
    with pytest.raises(ControlError) as caught:
        list(paragraphs(text))
    assert (caught.value.number, str(caught.value)) == (number, message)
    assert caught.value.line == text.split("\n")[number - 1]


def test_the_last_of_two_equal_fields_wins_where_that_is_asked_for() -> None:
    assert list(paragraphs("A: 1\na: 2\n b\n", last_wins=True)) == [{"a": "2\nb"}]


@pytest.mark.parametrize("character", ["\v", "\f", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_newline_ends_a_line(character: str) -> None:
    text = f"Description: short{character}Essential: yes\n"
    assert list(paragraphs(text)) == [{"description": f"short{character}Essential: yes"}]


def test_a_field_of_many_lines_takes_no_longer_than_they_are() -> None:
    # Twenty seconds where each line copies those before it.
    text = "Description: short\n" + " more\n" * 300_000
    (fields,) = paragraphs(text)
    assert fields["description"].count("\n") == 300_000


def test_carriage_returns_before_newlines_do_not_count() -> None:
    text = "Package: aa\r\nDescription: short\r\n long\r\n"
    assert list(paragraphs(text)) == [{"package": "aa", "description": "short\nlong"}]

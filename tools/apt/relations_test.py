import pytest

from tools.apt.relations import Relation, parse
from tools.apt.versions import Operator
from tools.cli import ToolError


def test_commas_separate_needs_and_bars_separate_alternatives() -> None:
    assert parse("aa (>= 1:2.0~), bb | cc:any (<< 3)") == (
        (Relation("aa", Operator.LATER_EQUAL, "1:2.0~"),),
        (Relation("bb"), Relation("cc", Operator.EARLIER, "3", "any")),
    )


@pytest.mark.parametrize("field", ["", "  ", "\n"])
def test_an_empty_field_has_no_relations(field: str) -> None:
    assert parse(field) == ()


def test_a_field_may_run_over_lines_and_end_in_a_comma() -> None:
    assert parse("aa,\n bb,\n") == ((Relation("aa"),), (Relation("bb"),))


@pytest.mark.parametrize(
    "field", ["aa bb", "aa (> 1)", "aa (>=)", "aa, , bb", "a", "Aa", "aa (>= 1", "aa [amd64]"]
)
def test_an_invalid_relation_is_refused_and_quoted(field: str) -> None:
    with pytest.raises(ToolError) as caught:
        parse(field)
    assert repr(field) in str(caught.value)


def test_an_unversioned_provides_meets_no_versioned_need() -> None:
    assert Relation("a").allows(None)
    assert not Relation("a", Operator.LATER_EQUAL, "1").allows(None)


def test_a_relation_reads_as_it_was_written() -> None:
    assert str(parse("python3:any (>= 3.11)")[0][0]) == "python3:any (>= 3.11)"

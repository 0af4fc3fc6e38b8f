"""What tells two actions apart, and how a log of them is read."""

from pathlib import Path

from tools.service.bazel_for_test import differences, read_log


def test_a_log_is_read_object_by_object(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    log.write_text('{"a": {"b": "}{"}}\n\n{"c": 1}\n')
    assert list(read_log(log)) == [{"a": {"b": "}{"}}, {"c": 1}]
    log.write_text("")
    assert list(read_log(log)) == []


def test_a_difference_is_named() -> None:
    one = {
        "commandArgs": ["tool", "/home/one/x"],
        "inputs": [
            {"path": "x", "digest": {"hash": "1"}},
            {"path": "y", "digest": {"hash": "2"}},
        ],
    }
    other = {
        "commandArgs": ["tool", "/home/two/x"],
        "inputs": [
            {"path": "x", "digest": {"hash": "1"}},
            {"path": "y.pyc", "digest": {"hash": "3"}},
        ],
    }
    assert differences(one, one) == []
    assert differences(one, other) == [
        "commandArgs: ['tool', '/home/one/x'] and ['tool', '/home/two/x']",
        "y: [{'hash': '2'}, None] and None",
        "y.pyc: None and [{'hash': '3'}, None]",
    ]

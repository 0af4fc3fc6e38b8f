"""Libraries of wheels come with bytecode that Python loads without looking at the source."""

from __future__ import annotations

import sys
from pathlib import Path

import packaging.requirements
import pytest

_UNCHECKED_HASH = (1).to_bytes(4, "little")


def test_modules_of_wheels_are_compiled_already() -> None:
    compiled = {
        name: Path(module.__cached__).read_bytes()[4:8] == _UNCHECKED_HASH
        for name, module in sys.modules.items()
        if "site-packages" in (getattr(module, "__cached__", None) or "")
    }
    assert {pytest.__name__, "_pytest.config", packaging.requirements.__name__} <= set(compiled)
    assert all(compiled.values()), sorted(name for name in compiled if not compiled[name])

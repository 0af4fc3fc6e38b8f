"""Bytecode: equal bytes in any order, valid without its source, an error for what is broken."""

from __future__ import annotations

import importlib.util
import marshal
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tools.archive.bytecode import Source, compile_all, pyc_path
from tools.cli import ToolError

_STDLIB = Path(subprocess.__file__).parent
_SOURCES = [
    Source(path=f"/usr/lib/x/{path.name}", data=path.read_bytes())
    for path in sorted(_STDLIB.glob("[a-s]*.py"))
]


def test_order_and_number_of_workers_do_not_change_a_byte() -> None:
    assert len(_SOURCES) > 50
    shuffled = list(_SOURCES)
    random.Random(7).shuffle(shuffled)
    expected = dict(zip(_SOURCES, compile_all(_SOURCES, jobs=1), strict=True))
    assert dict(zip(shuffled, compile_all(shuffled, jobs=3), strict=True)) == expected


def test_bytecode_carries_an_unchecked_hash_and_the_path_in_the_image() -> None:
    (compiled,) = compile_all([Source(path="/app/main.py", data=b"x = {'a', 'b'}\n")])
    assert compiled[:4] == importlib.util.MAGIC_NUMBER
    assert compiled[4:8] == b"\x01\0\0\0"  # PEP 552: hash-based, not checked
    assert marshal.loads(compiled[16:]).co_filename == "/app/main.py"


def test_the_interpreter_runs_the_bytecode_although_the_source_has_another_time(
    tmp_path: Path,
) -> None:
    module = tmp_path / "module.py"
    module.write_text("print('from the source')\n", encoding="utf-8")
    compiled = compile_all([Source(path=str(module), data=b"print('from the bytecode')\n")])[0]
    bytecode = Path(pyc_path(str(module)))
    bytecode.parent.mkdir()
    bytecode.write_bytes(compiled)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import module"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "from the bytecode\n"


@pytest.mark.parametrize(
    ("source", "cause"), [(b"def f(:\n", "invalid syntax"), (b"x = '\0'\n", "null bytes")]
)
def test_a_source_that_does_not_compile_is_an_error_that_names_it(
    source: bytes, cause: str
) -> None:
    with pytest.raises(ToolError, match=rf"/app/broken\.py does not compile: .*{cause}"):
        compile_all(
            [Source(path="/app/good.py", data=b""), Source(path="/app/broken.py", data=source)],
            jobs=1,
        )


def test_nothing_to_compile_is_not_an_error() -> None:
    assert compile_all([]) == []

"""Bytecode: equal bytes in any order, valid without its source, an error for what is broken."""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.archive import bytecode
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
    one = compile_all(_SOURCES, jobs=1)
    bytecode._COMPILED.clear()
    assert compile_all(shuffled, jobs=3) == one


def test_what_has_been_compiled_is_compiled_again_only_after_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sources, started = _SOURCES[:6], list[str]()

    def counting(share: Sequence[Source]) -> list[tuple[int, bytes]]:
        started.extend(source.path for source in share)
        return compiler(share)

    compiler = bytecode._run_worker
    monkeypatch.setattr(bytecode, "_COMPILED", {})
    monkeypatch.setattr(bytecode, "_run_worker", counting)
    first = compile_all(sources)
    broken = Source(path=sources[3].path, data=b"def f(:\n")
    changed = Source(path=sources[3].path, data=b"x = 1\n")
    moved = Source(path="/moved.py", data=sources[0].data)
    with pytest.raises(ToolError, match="does not compile"):
        compile_all([*sources[:3], broken, *sources[4:]])
    started.clear()
    second = compile_all([*sources[:3], changed, *sources[4:], moved])
    assert sorted(started) == sorted([changed.path, moved.path])
    fresh = {}
    for source in (changed, moved):
        bytecode._COMPILED.clear()
        fresh.update(compile_all([source]))
    assert second == first | fresh


def test_what_is_kept_of_compiled_modules_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "_COMPILED", {})
    monkeypatch.setattr(bytecode, "_MOST_KEPT", 1000)
    compile_all([Source(path=f"/x/{number}.py", data=b"x = 1\n") for number in range(20)], jobs=1)
    assert 0 < sum(map(len, bytecode._COMPILED.values())) <= 1000
    assert ("/x/19.py", hashlib.sha256(b"x = 1\n").digest()) in bytecode._COMPILED


def test_bytecode_carries_an_unchecked_hash_and_the_path_in_the_image() -> None:
    source = Source(path="/app/main.py", data=b"x = {'a', 'b'}\n")
    compiled = compile_all([source])[f"/app/__pycache__/main.{sys.implementation.cache_tag}.pyc"]
    assert compiled[:4] == importlib.util.MAGIC_NUMBER
    assert compiled[4:8] == b"\x01\0\0\0"  # PEP 552: hash-based, not checked
    assert compiled[16] == ord("c") | 0x80  # marked as shared: every layer's digest depends on it
    assert marshal.loads(compiled[16:]).co_filename == "/app/main.py"


def test_the_interpreter_runs_the_bytecode_although_the_source_has_another_time(
    tmp_path: Path,
) -> None:
    module = tmp_path / "module.py"
    module.write_text("print('from the source')\n", encoding="utf-8")
    place = pyc_path(str(module))
    Path(place).parent.mkdir()
    compiled = compile_all([Source(path=str(module), data=b"print('from the bytecode')\n")])
    Path(place).write_bytes(compiled[place])
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


@pytest.mark.parametrize(
    "source",
    [
        b"except Exception, error:\n",
        b"x = '\0'\n",
        b"# coding: unknown-8\nx = 1\n",
        b"x = '\xff'\n",
        b"import {{ package }}\n",
        b"x = " + b"-" * 7000 + b"1\n",  # MemoryError, from the parser
        b"x = " + b"(" * 300 + b")" * 300 + b"\n",
        b"x = " + b"a." * 20000 + b"b\n",  # RecursionError, from the compiler
    ],
)
def test_a_source_that_does_not_compile_can_be_skipped(source: bytes) -> None:
    messages: list[str] = []
    sources = [
        Source(path="/x/one.py", data=b""),
        Source(path="/x/broken.py", data=source),
        Source(path="/x/two.py", data=b""),
    ]
    compiled = compile_all(sources, jobs=1, skipped=messages.append)
    assert compiled == compile_all([sources[0], sources[2]])
    assert len(messages) == 1
    assert re.fullmatch(r"/x/broken\.py does not compile: .+", messages[0])


def test_a_compiler_that_is_killed_is_an_error_even_where_sources_can_be_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bytecode, "_run_worker", lambda sources: [(-9, b"") for _ in sources])
    with pytest.raises(ToolError, match=r"/x/a\.py: the bytecode compiler stopped with -9"):
        compile_all([Source(path="/x/a.py", data=b"")], skipped=lambda _: None)


def test_nothing_to_compile_is_not_an_error() -> None:
    assert compile_all([]) == {}

"""The replay against the real ld.so, on objects made to be awkward, and what ld.so cannot show.

The linker asked is the one that runs this test; whole images are compared in //backend.
"""

from __future__ import annotations

import platform
import re
import struct
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.elf import ld_so_cache
from tools.elf.elf import MAGIC, Elf, read_elf
from tools.elf.elf_for_test import NODEFLIB, build
from tools.elf.elf_for_test import linker as linker_bytes
from tools.elf.linker import (
    Linker,
    Loaded,
    Loading,
    expand,
    find_linker,
    load,
    undefined_symbols,
    unmet_versions,
)
from tools.linux.architectures import ARCHITECTURES

MACHINE = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}[platform.machine()]
OTHER = {"EM_X86_64": "EM_AARCH64", "EM_AARCH64": "EM_X86_64"}[MACHINE]
LISTED = re.compile(r"\t(\S+) (?:=> (not found|\S+) )?\(|\t(\S+) => not found")


def real_linker() -> Path:
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if path.startswith("/") and Path(path).name.startswith("ld-linux"):
            return Path(path)
    pytest.fail("this test runs under a dynamic linker, yet none is mapped")


class Disk:
    """A directory as the root of a file system, or the machine's own."""

    def __init__(self, root: str = "") -> None:
        self._root = root

    def realpath(self, path: str) -> str | None:
        real = Path(self._root + path).resolve()
        return str(real)[len(self._root) :] if real.is_file() else None

    def read(self, path: str) -> bytes:
        return Path(self._root + path).read_bytes()

    def elf(self, path: str) -> Elf | None:
        content = self.read(path)
        return read_elf(content) if content.startswith(MAGIC) else None


def made(tmp_path: Path, files: Mapping[str, bytes]) -> Path:
    root = tmp_path / "r"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root.resolve()


def replayed(path: Path) -> Loading:
    linker = find_linker(Disk(), machine=MACHINE, interpreter=str(real_linker()))
    return load(str(path), files=Disk(), linker=linker)


def listed(path: Path) -> list[tuple[str, str]]:
    # As --list, which stops at the first library that is missing.
    result = subprocess.run(
        [real_linker(), path],
        capture_output=True,
        text=True,
        timeout=60,
        env={"LD_TRACE_LOADED_OBJECTS": "1"},
        check=False,
    )
    assert not result.stderr, result.stderr
    found = []
    for line in result.stdout.splitlines():
        match = LISTED.match(line)
        assert match, line
        name = match[1] or match[3]
        if "vdso" not in name and "ld-linux" not in name:
            found.append((name, "not found" if match[3] else match[2] or name))
    return found


def as_listed(loading: Loading) -> list[tuple[str, str]]:
    """What the replay found, in ld.so's words; ld.so puts what it lacks where it lacked it."""
    return [(each.name, each.path) for each in loading.order[1:]] + [
        (unmet.need, "not found") for unmet in loading.unmet
    ]


def obj(soname: str | None = None, **fields: object) -> bytes:
    return build(soname, machine=MACHINE, **fields)  # type: ignore[arg-type]


def v4(name: str) -> bytes:
    return build(name, machine=MACHINE, filler=b"better")


CASES: dict[str, Callable[[], dict[str, bytes]]] = {
    "RUNPATH with ORIGIN": lambda: {
        "app": obj(needed=["liba.so"], runpath="$ORIGIN/lib"),
        "lib/liba.so": obj("liba.so"),
    },
    "braces, a name that only begins so, and unknown names": lambda: {
        "app": obj(needed=["liba.so"], runpath="$ORIGINAL/x:$HOME:${ORIGIN}/lib"),
        "lib/liba.so": obj("liba.so"),
    },
    "LIB": lambda: {
        "app": obj(needed=["liba.so"], runpath="$ORIGIN/$LIB"),
        f"lib/{platform.machine()}-linux-gnu/liba.so": obj("liba.so"),
    },
    "an RPATH is inherited by what it brings in": lambda: {
        "app": obj(needed=["liba.so"], rpath="$ORIGIN/lib"),
        "lib/liba.so": obj("liba.so", needed=["libb.so"]),
        "lib/libb.so": obj("libb.so"),
    },
    "a RUNPATH is not": lambda: {
        "app": obj(needed=["liba.so"], runpath="$ORIGIN/lib"),
        "lib/liba.so": obj("liba.so", needed=["libb.so"]),
        "lib/libb.so": obj("libb.so"),
    },
    "an object with a RUNPATH takes no RPATH of its loaders": lambda: {
        "app": obj(needed=["liba.so"], rpath="$ORIGIN/lib"),
        "lib/liba.so": obj("liba.so", needed=["libb.so"], runpath="$ORIGIN/nowhere"),
        "lib/libb.so": obj("libb.so"),
    },
    "a loader's RPATH beside its RUNPATH is void": lambda: {
        "app": obj(needed=["liba.so"], rpath="$ORIGIN/lib", runpath="$ORIGIN/lib"),
        "lib/liba.so": obj("liba.so", needed=["libb.so"]),
        "lib/libb.so": obj("libb.so"),
    },
    "the nearest RPATH comes first": lambda: {
        "app": obj(needed=["liba.so"], rpath="$ORIGIN/lib"),
        "lib/liba.so": obj("liba.so", needed=["libb.so"], rpath="$ORIGIN/inner"),
        "lib/libb.so": obj("libb.so"),
        "lib/inner/libb.so": obj("libb.so"),
    },
    "what is loaded already is not searched for": lambda: {
        "app": obj(needed=["liba.so", "libb.so"], runpath="$ORIGIN/lib"),
        "lib/liba.so": obj("liba.so", needed=["libb.so"]),
        "lib/libb.so": obj("libb.so"),
    },
    "and is known by its soname too": lambda: {
        "app": obj(needed=["libx-1.so", "liba.so"], runpath="$ORIGIN/lib"),
        "lib/libx-1.so": obj("libx.so"),
        "lib/liba.so": obj("liba.so", needed=["libx.so"]),
    },
    "breadth first decides who asks first": lambda: {
        "app": obj(needed=["liba.so", "libb.so"], rpath="$ORIGIN/lib"),
        "lib/liba.so": obj("liba.so", needed=["libc1.so"], rpath="$ORIGIN/a"),
        "lib/libb.so": obj("libb.so", needed=["libd.so"], rpath="$ORIGIN/b"),
        "lib/a/libc1.so": obj("libc1.so", needed=["libd.so"]),
        "lib/a/libd.so": obj("libd.so"),
        "lib/b/libd.so": obj("libd.so"),
    },
    "a name with a slash is a path": lambda: {
        "app": obj(needed=["$ORIGIN/deep/liba.so"], runpath="$ORIGIN/lib"),
        "deep/liba.so": obj("liba.so"),
    },
    "an object of another machine is passed over": lambda: {
        "app": obj(needed=["liba.so"], runpath="$ORIGIN/one:$ORIGIN/two"),
        "one/liba.so": build("liba.so", machine=OTHER),
        "two/liba.so": obj("liba.so"),
    },
    "two names of one file are one object": lambda: {
        "app": obj(needed=["liba.so", "libb.so"], runpath="$ORIGIN/lib"),
        "lib/liba.so": obj(),
    },
    "without default directories libc is not found": lambda: {
        "app": obj(needed=["libnone.so"], flags_1=NODEFLIB, runpath="$ORIGIN/lib"),
    },
    "slashes at the end are dropped": lambda: {
        "app": obj(needed=["liba.so"], runpath="$ORIGIN/lib///"),
        "lib/liba.so": obj("liba.so"),
    },
}


@pytest.mark.parametrize("case", CASES)
def test_the_replay_loads_what_the_real_linker_loads(tmp_path: Path, case: str) -> None:
    root = made(tmp_path, CASES[case]())
    if case.startswith("two names"):
        (root / "lib/libb.so").symlink_to("liba.so")
    expected = listed(root / "app")
    assert expected, "the real linker said nothing"
    assert sorted(as_listed(replayed(root / "app"))) == sorted(expected)


def test_hwcaps_directories_come_first_on_processors_that_have_them(tmp_path: Path) -> None:
    files = {"app": obj(needed=["liba.so"], runpath="$ORIGIN"), "liba.so": obj("liba.so")}
    linker = find_linker(Disk(), machine=MACHINE, interpreter=str(real_linker()))
    for level in linker.known_hwcaps:
        files[f"glibc-hwcaps/{level}/liba.so"] = v4("liba.so")
    root = made(tmp_path, files)
    text = subprocess.run(
        [real_linker(), "--help"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    here = tuple(n for n in linker.known_hwcaps if re.search(rf"{n} \(supported, searched\)", text))
    loading = load(str(root / "app"), files=Disk(), linker=linker.on(linker.platform, here))
    assert as_listed(loading) == listed(root / "app")
    oldest = load(str(root / "app"), files=Disk(), linker=linker)
    assert oldest.order[1].path == f"{root}/liba.so"


def test_default_directories_are_those_of_the_linker_file() -> None:
    linker = find_linker(Disk(), machine=MACHINE, interpreter=str(real_linker()))
    text = subprocess.run(
        [real_linker(), "--help"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    shown = re.findall(r"^  (/\S+) \(system search path\)", text, re.MULTILINE)
    assert shown
    assert list(linker.directories) == shown


@pytest.fixture
def tiny() -> dict[str, bytes]:
    return {"/lib64/ld-linux-x86-64.so.2": linker_bytes()}


class Memory:
    """Files by absolute path, without links."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def realpath(self, path: str) -> str | None:
        return path if path in self._files else None

    def read(self, path: str) -> bytes:
        return self._files[path]

    def elf(self, path: str) -> Elf | None:
        content = self._files[path]
        return read_elf(content) if content.startswith(MAGIC) else None


def loading(files: Mapping[str, bytes], path: str = "/app") -> Loading:
    linker = find_linker(Memory(files), machine="EM_X86_64")
    return load(path, files=Memory(files), linker=linker)


def test_unmet_needs_list_every_place_searched(tiny: dict[str, bytes]) -> None:
    (unmet,) = loading({**tiny, "/app": build(needed=["libz.so"], runpath="/opt:")}).unmet
    assert unmet.need == "libz.so"
    assert unmet.searched == (
        "/opt (RUNPATH)",
        ". (RUNPATH)",
        "/etc/ld.so.cache",
        "/lib/x86_64-linux-gnu (default)",
        "/usr/lib/x86_64-linux-gnu (default)",
        "/lib (default)",
        "/usr/lib (default)",
    )


def test_file_that_is_not_an_object_ends_the_search_as_in_ld_so(tiny: dict[str, bytes]) -> None:
    files = {**tiny, "/app": build(needed=["libz.so"]), "/lib/libz.so": b"INPUT(libz.so.1)"}
    (unmet,) = loading({**files, "/usr/lib/libz.so": build()}).unmet
    assert unmet.cause == "is not an ELF object at /lib/libz.so"


def test_undefined_version_is_reported(tiny: dict[str, bytes]) -> None:
    files = {**tiny, "/app": build(needed=["libz.so"], wants={"libz.so": ["Z_1", "Z_2"]})}
    old = unmet_versions(loading({**files, "/lib/libz.so": build("libz.so", defines=["Z_1"])}))
    none = unmet_versions(loading({**files, "/lib/libz.so": build("libz.so")}))
    both = build("libz.so", defines=["Z_1", "Z_2"])
    assert unmet_versions(loading({**files, "/lib/libz.so": both})) == []
    assert [(u.need, u.cause) for u in old] == [
        ("version Z_2", "/lib/libz.so, which is loaded for libz.so, does not define it")
    ]
    assert [u.need for u in none] == ["version Z_1", "version Z_2"]
    assert "defines no versions" in none[0].cause


@pytest.mark.parametrize(
    ("exports", "undefined"),
    [
        ([("f", "Z_2"), ("g", "")], []),
        ([("f", "Z_1"), ("g", "Z_1")], ["f@Z_2"]),
        ([("f", "")], ["g"]),
        ([], ["f@Z_2", "g"]),
    ],
)
def test_symbols_are_looked_for_by_name_and_version(
    tiny: dict[str, bytes], exports: list[tuple[str, str]], undefined: list[str]
) -> None:
    library = build("libz.so", defines=["Z_1", "Z_2"], exports=exports)
    imports = [("f", "Z_2"), ("g", "")]
    app = build(needed=["libz.so"], wants={"libz.so": ["Z_2"]}, imports=imports)
    found = loading({**tiny, "/app": app, "/lib/libz.so": library})
    assert undefined_symbols(found.order[0], found.order) == undefined


def test_the_cache_is_asked_before_the_default_directories(tiny: dict[str, bytes]) -> None:
    flags = ld_so_cache.ELF_LIBC6 | ARCHITECTURES["amd64"].cache_flags
    cache = cache_bytes([("libz.so", "/opt/libz.so", flags), ("liba.so", "/opt/a32.so", 0x803)])
    files = {
        **tiny,
        "/app": build(needed=["libz.so", "liba.so"]),
        "/opt/libz.so": build("libz.so"),
        "/lib/libz.so": build("libz.so"),
        "/lib/liba.so": build("liba.so"),
        "/etc/ld.so.cache": cache,
    }
    assert [each.path for each in loading(files).order] == ["/app", "/opt/libz.so", "/lib/liba.so"]
    strict = {**files, "/app": build(needed=["libz.so"], flags_1=NODEFLIB)}
    assert loading(strict).order[1].path == "/opt/libz.so"
    flat = cache_bytes([("libz.so", "/lib/libz.so", flags)])
    assert loading({**strict, "/etc/ld.so.cache": flat}).unmet


def cache_bytes(
    entries: Sequence[tuple[str, str, int] | tuple[str, str, int, int]], hwcaps: Sequence[str] = ()
) -> bytes:
    """Return a cache. An entry's fourth member is its hwcap; `hwcaps` names the extension's."""
    strings, packed = b"", b""
    base = ld_so_cache.HEADER.size + len(entries) * ld_so_cache.ENTRY.size
    for name, path, flags, *hwcap in entries:
        at = base + len(strings)
        strings += name.encode() + b"\0" + path.encode() + b"\0"
        packed += ld_so_cache.ENTRY.pack(flags, at, at + len(name) + 1, 0, *(hwcap or [0]))
    names = []
    for level in hwcaps:
        names.append(base + len(strings))
        strings += level.encode() + b"\0"
    extension, at = b"", 0
    if hwcaps:
        at = base + len(strings)
        # The directory of extensions (dl-cache.h): another one, then that of glibc-hwcaps.
        extension = struct.pack("<II", 0xEAA42174, 2)
        extension += struct.pack("<IIII", 0, 0, at, 0)
        extension += struct.pack("<IIII", 1, 0, at + 40, 4 * len(names))
        extension += struct.pack(f"<{len(names)}I", *names)
    header = ld_so_cache.HEADER.pack(ld_so_cache.MAGIC, len(entries), len(strings), 2, at)
    return header + packed + strings + extension


HWCAPS = ("x86-64-v2", "x86-64-v3")
_EXTENSION = 1 << 62  # dl-cache.h: DL_CACHE_HWCAP_EXTENSION; the low bits are an index into HWCAPS
_FLAGS = ld_so_cache.ELF_LIBC6 | ARCHITECTURES["amd64"].cache_flags
HWCAPS_CACHE = cache_bytes(
    [
        ("libz.so", "/old/libz.so", _FLAGS, 1 << 3),
        ("libz.so", "/v2/libz.so", _FLAGS, _EXTENSION | 0),
        ("libz.so", "/v3/libz.so", _FLAGS, _EXTENSION | 1),
        ("libz.so", "/plain/libz.so", _FLAGS),
    ],
    HWCAPS,
)


def test_hwcaps_entries_of_the_cache_name_their_level() -> None:
    # /old/libz.so is for a processor feature from before glibc-hwcaps; it is never needed.
    assert [(entry.path, entry.hwcaps) for entry in ld_so_cache.read_cache(HWCAPS_CACHE)] == [
        ("/v2/libz.so", "x86-64-v2"),
        ("/v3/libz.so", "x86-64-v3"),
        ("/plain/libz.so", ""),
    ]


@pytest.mark.parametrize(
    ("levels", "path"),
    [
        (("x86-64-v3", "x86-64-v2"), "/v3/libz.so"),
        (("x86-64-v2",), "/v2/libz.so"),
        ((), "/plain/libz.so"),
    ],
)
def test_the_best_hwcaps_entry_for_the_processor_is_loaded(
    tiny: dict[str, bytes], levels: tuple[str, ...], path: str
) -> None:
    library = build("libz.so")
    files = Memory(
        {
            **tiny,
            "/app": build(needed=["libz.so"]),
            **{f"/{name}/libz.so": library for name in ("old", "v2", "v3", "plain")},
            "/etc/ld.so.cache": HWCAPS_CACHE,
        }
    )
    linker = find_linker(files, machine="EM_X86_64").on("x86_64", levels)
    assert load("/app", files=files, linker=linker).order[1].path == path


def test_an_hwcaps_entry_that_the_processor_cannot_run_is_not_loaded(
    tiny: dict[str, bytes],
) -> None:
    cache = cache_bytes([("libz.so", "/v3/libz.so", _FLAGS, _EXTENSION | 1)], HWCAPS)
    files = {**tiny, "/app": build(needed=["libz.so"]), "/v3/libz.so": build("libz.so")}
    assert loading({**files, "/etc/ld.so.cache": cache}).unmet


def test_a_damaged_hwcaps_extension_is_an_error() -> None:
    at = HWCAPS_CACHE.index(struct.pack("<I", 0xEAA42174))
    for broken in (
        HWCAPS_CACHE[:at] + bytes(4) + HWCAPS_CACHE[at + 4 :],
        HWCAPS_CACHE[:-2],
        HWCAPS_CACHE.replace(struct.pack("<Q", _EXTENSION | 1), struct.pack("<Q", _EXTENSION | 2)),
    ):
        with pytest.raises(ToolError, match="is damaged"):
            ld_so_cache.read_cache(broken)


def test_a_damaged_or_unsorted_cache_is_noticed() -> None:
    with pytest.raises(ToolError, match="begins with"):
        ld_so_cache.read_cache(bytes(64))
    with pytest.raises(ToolError, match="is damaged"):
        ld_so_cache.read_cache(cache_bytes([("liba.so", "/liba.so", 3)])[:60])
    rising = [("liba.so", "/a", 3), ("libb.so", "/b", 3)]
    assert ld_so_cache.unsorted_names(ld_so_cache.read_cache(cache_bytes(rising))) == (
        "liba.so",
        "libb.so",
    )
    falling = ld_so_cache.read_cache(cache_bytes(rising[::-1]))
    assert ld_so_cache.unsorted_names(falling) is None


def test_missing_linker_is_reported() -> None:
    with pytest.raises(ToolError, match=r"/lib64/ld-linux-x86-64\.so\.2 does not exist"):
        find_linker(Memory({}), machine="EM_X86_64")
    musl = {"/lib/ld-musl.so.1": build("libc.so")}
    with pytest.raises(ToolError, match="no list of directories as glibc's has"):
        find_linker(Memory(musl), machine="EM_X86_64", interpreter="/lib/ld-musl.so.1")
    with pytest.raises(ToolError, match="is for EM_X86_64, expected EM_AARCH64"):
        find_linker(Memory(musl), machine="EM_AARCH64", interpreter="/lib/ld-musl.so.1")


def test_platform_token_depends_on_the_processor() -> None:
    linker = Linker("/ld", "/ld", "EM_X86_64", "ld", (), "lib", "haswell")
    assert expand("/x/$PLATFORM/${LIB}", linker=linker, origin="/o") == "/x/haswell/lib"


def test_chain_lists_loaders_from_the_program_down(tiny: dict[str, bytes]) -> None:
    files = {
        **tiny,
        "/app": build(needed=["liba.so"]),
        "/lib/liba.so": build("liba.so", needed=["libgone.so"]),
    }
    found = loading(files)
    assert found.unmet[0].object.chain() == "/app → /lib/liba.so"
    assert isinstance(found.order[1], Loaded)


def test_a_cache_that_ends_in_the_header_of_its_old_table_is_damaged() -> None:
    with pytest.raises(ToolError, match=r"is damaged: .*requires a buffer of at least 16 bytes"):
        ld_so_cache.read_cache(b"ld.so-1.7.0\0")

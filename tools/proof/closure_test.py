"""Small images with one defect each: every kind is found, and said in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.cli import ToolError
from tools.elf import ld_so_cache
from tools.elf.elf_for_test import build, linker
from tools.image.image_files import read_image
from tools.image.images_for_test import Member, directory, link, write_image
from tools.linux.architectures import ARCHITECTURES
from tools.proof.allowlist import read_allowlist
from tools.proof.closure import KINDS, Verdict, judge, main, report
from tools.proof.findings import Finding

LIB = "usr/lib/x86_64-linux-gnu"
LINKER = "/lib64/ld-linux-x86-64.so.2"


def library(name: str, content: bytes, mode: int = 0o644) -> Member:
    return Member(f"{LIB}/{name}", content, mode=mode)


def program(content: bytes) -> Member:
    return Member("usr/bin/app", content, mode=0o755)


def image(folder: Path, *members: Member, architecture: str = "amd64", path: str = "") -> Path:
    base = [
        directory("usr/lib"),
        link("lib", "usr/lib"),
        link("lib64", "usr/lib64"),
        Member("usr/lib64/ld-linux-x86-64.so.2", linker(), mode=0o755),
    ]
    config = {"Env": [f"PATH={path}"]} if path else {}
    write_image(folder / "image", [base, list(members)], config, architecture=architecture)
    return folder / "image"


def judged(folder: Path, *members: Member, path: str = "") -> Verdict:
    return judge(read_image(image(folder, *members, path=path)))


def only(verdict: Verdict) -> Finding:
    assert len(verdict.findings) == 1, report(verdict, name="image")
    return verdict.findings[0]


def test_an_image_that_is_closed_has_no_findings(tmp_path: Path) -> None:
    verdict = judged(
        tmp_path,
        program(build(needed=["liba.so.1"], interpreter=LINKER)),
        link(f"{LIB}/liba.so.1", "liba.so.1.2"),
        link("usr/bin/env", "app"),
        library("liba.so.1.2", build("liba.so.1")),
        Member("usr/bin/tool", b"#!/usr/bin/env -S app\n", mode=0o755),
    )
    assert verdict.findings == []
    assert verdict.counts == {"objects": 3, "scripts": 1, "links": 4}


def test_a_missing_library_is_reported_with_places_and_with_who_loads_the_object(
    tmp_path: Path,
) -> None:
    verdict = judged(
        tmp_path,
        program(build(needed=["liba.so"], interpreter=LINKER)),
        library("liba.so", build("liba.so", needed=["libgone.so.3"], runpath="$ORIGIN/private")),
    )
    assert report(verdict, name="image").splitlines() == [
        f"/{LIB}/liba.so needs libgone.so.3, which is in none of them:",
        "    searched /lib/x86_64-linux-gnu/private (RUNPATH)",
        "    searched /etc/ld.so.cache",
        "    searched /lib/x86_64-linux-gnu (default)",
        "    searched /usr/lib/x86_64-linux-gnu (default)",
        "    searched /lib (default)",
        "    searched /usr/lib (default)",
        f"    loaded by /usr/bin/app → /{LIB}/liba.so",
        "image: 3 objects, 0 scripts, 2 links; 1 findings",
    ]


def test_a_part_of_another_library_may_lack_what_that_one_has_loaded(tmp_path: Path) -> None:
    whole = library("libwhole.so", build("libwhole.so", needed=["libpart.so"], rpath="/opt"))
    part = Member("opt/libpart.so", build("libpart.so", needed=["libother.so"]))
    other = Member("opt/libother.so", build("libother.so"))
    assert judged(tmp_path / "1", whole, part, other).findings == []
    assert only(judged(tmp_path / "2", part, other)).path == "/opt/libpart.so"


def test_a_missing_version_and_a_missing_symbol_are_reported(tmp_path: Path) -> None:
    wants = {"liba.so": ["A_1", "A_2"]}
    app = build(
        needed=["liba.so"], wants=wants, imports=[("f", "A_2"), ("g", "")], interpreter=LINKER
    )
    old = build("liba.so", defines=["A_1"], exports=[("f", "A_1")])
    verdict = judged(tmp_path, program(app), library("liba.so", old))
    assert [(each.kind, each.text) for each in verdict.findings] == [
        ("symbols", "imports what nothing with it defines: f@A_2, g"),
        (
            "versions",
            (
                "needs version A_2; /lib/x86_64-linux-gnu/liba.so, which is loaded for liba.so, "
                "does not define it"
            ),
        ),
    ]


def test_a_module_may_leave_symbols_to_the_program_that_opens_it(tmp_path: Path) -> None:
    module = Member("usr/lib/python/x.so", build(imports=[("PyList_New", "")]))
    python = program(build(exports=[("PyList_New", "")], interpreter=LINKER))
    assert judged(tmp_path / "1", module, python).findings == []
    assert only(judged(tmp_path / "2", module)).kind == "symbols"


def test_objects_of_another_machine_are_reported(tmp_path: Path) -> None:
    finding = only(
        judged(tmp_path, program(build()), library("liba.so", build(machine="EM_AARCH64")))
    )
    assert finding.text == (
        "is a 64-bit little-endian object for EM_AARCH64, the image is 64-bit little-endian "
        "EM_X86_64"
    )


def test_a_program_without_its_linker_is_reported(tmp_path: Path) -> None:
    finding = only(judged(tmp_path, program(build(interpreter="/lib/ld-other.so"))))
    assert finding.text == "cannot be started: the dynamic linker /lib/ld-other.so does not exist"


def test_a_filter_is_reported_since_the_replay_knows_none(tmp_path: Path) -> None:
    tag, other = ((n).to_bytes(8, "little") for n in (0x6FFFFFFB, 0x7FFFFFFF))
    content = build("liba.so", flags_1=1).replace(tag, other)
    finding = only(judged(tmp_path, library("liba.so", content)))
    assert finding.text == "is a filter (DT_FILTER), which is not replayed"


def test_a_search_in_the_current_directory_is_reported(tmp_path: Path) -> None:
    finding = only(judged(tmp_path, program(build(runpath="/opt:", interpreter=LINKER))))
    assert finding.text == "searches '', which is relative to the current directory"


def test_a_library_that_others_may_not_read_is_reported(tmp_path: Path) -> None:
    finding = only(judged(tmp_path, library("liba.so", build("liba.so"), mode=0o640)))
    assert finding.text == "cannot be read by the image's user, who has to load it"


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("/usr/bin/perl -w", "is a script for '/usr/bin/perl -w': /usr/bin/perl is not there"),
        ("/etc/data", "is a script for '/etc/data': /etc/data cannot be executed"),
        ("python3", "is a script for 'python3': python3 is not an absolute path"),
        ("", "begins with '#!' and names no interpreter"),
        (
            "/usr/bin/env ruby",
            "is a script for '/usr/bin/env ruby': ruby is in no directory of PATH (/opt:/usr/bin)",
        ),
        ("/usr/bin/env", "is a script for '/usr/bin/env': env gets no program"),
    ],
)
def test_a_script_without_its_interpreter_is_reported(
    tmp_path: Path, line: str, cause: str
) -> None:
    verdict = judged(
        tmp_path,
        program(build(interpreter=LINKER)),
        link("usr/bin/env", "app"),
        Member("etc/data", b"data"),
        Member("usr/bin/tool", f"#!{line}\n".encode(), mode=0o755),
        Member("usr/share/sample", b"#!/usr/bin/perl\n"),
        path="/opt:/usr/bin",
    )
    assert (only(verdict).path, only(verdict).text) == ("/usr/bin/tool", cause)


@pytest.mark.parametrize(
    ("target", "cause"),
    [
        ("gone", "is a link to gone, and /etc/gone is not there"),
        ("/usr/gone/x", "is a link to /usr/gone/x, and /usr/gone/x is not there"),
        ("self", "is a link to self: '/etc/self': too many levels of symbolic links"),
        ("/etc/data/x", "is a link to /etc/data/x: '/etc/self': '/etc/data' is not a directory"),
    ],
)
def test_a_dangling_link_is_reported(tmp_path: Path, target: str, cause: str) -> None:
    members = [program(build()), Member("etc/data", b""), link("etc/self", target)]
    assert only(judged(tmp_path, *members, link("etc/mtab", "/proc/mounts"))).text == cause


def test_a_cache_that_misleads_is_reported(tmp_path: Path) -> None:
    flags = ld_so_cache.ELF_LIBC6 | ARCHITECTURES["amd64"].cache_flags
    names = ("liba.so", "libb.so")
    strings = b"".join(f"{name}\0/lib/{name}\0".encode() for name in names)
    start = ld_so_cache.HEADER.size + 2 * ld_so_cache.ENTRY.size
    entries = b"".join(
        ld_so_cache.ENTRY.pack(flags, at, at + 8, 0, 0) for at in (start, start + 21)
    )
    header = ld_so_cache.HEADER.pack(ld_so_cache.MAGIC, 2, len(strings), 2, 0)
    cache = Member("etc/ld.so.cache", header + entries + strings)
    a = Member("usr/lib/liba.so", build("liba.so"))
    texts = [each.text for each in judged(tmp_path, program(build()), a, cache).findings]
    assert texts == [
        "is not sorted: 'liba.so' stands before 'libb.so'",
        "lists /lib/libb.so, which is not an object here",
    ]


def test_libraries_for_newer_processors_are_closed_as_well(tmp_path: Path) -> None:
    better = build("liba.so", needed=["libgone.so"])
    verdict = judged(
        tmp_path,
        program(build(needed=["liba.so"], interpreter=LINKER)),
        library("liba.so", build("liba.so")),
        library("glibc-hwcaps/x86-64-v3/liba.so", better),
    )
    assert only(verdict).path == f"/{LIB}/glibc-hwcaps/x86-64-v3/liba.so"


def test_every_platform_counts_where_a_path_depends_on_it(tmp_path: Path) -> None:
    verdict = judged(
        tmp_path,
        program(build(needed=["liba.so"], runpath="/opt/$PLATFORM", interpreter=LINKER)),
        Member("opt/x86_64/liba.so", build("liba.so")),
    )
    assert {each.searched[0] for each in verdict.findings} == {
        "/opt/haswell (RUNPATH)",
        "/opt/xeon_phi (RUNPATH)",
    }


def test_an_image_without_objects_proves_nothing(tmp_path: Path) -> None:
    write_image(tmp_path, [[directory("etc")]], {}, architecture="amd64")
    with pytest.raises(ToolError, match="no ELF object of EM_X86_64 in the image"):
        judge(read_image(tmp_path))
    write_image(tmp_path / "x", [[directory("etc")]], {}, architecture="s390x")
    with pytest.raises(ToolError, match="for architecture 's390x'; known are amd64, arm64"):
        judge(read_image(tmp_path / "x"))


def test_what_is_allowed_needs_a_reason_and_a_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = image(tmp_path, program(build()), link("etc/x", "gone"))
    allowlist = tmp_path / "allowlist.yaml"
    arguments = ["--image", str(layout), "--allowlist", str(allowlist)]
    allowlist.write_text("links:\n  /etc/*: made when it starts\n")
    assert main(arguments) == 0
    assert "allowed: /etc/x is a link to gone" in capsys.readouterr().out
    allowlist.write_text("links:\n  /etc/*: made when it starts\n  /opt/**: old\n")
    assert main(arguments) == 1
    assert "links: /opt/**: nothing of that kind is found there" in capsys.readouterr().out
    allowlist.write_text("")
    assert main(arguments) == 1
    for text, cause in (
        ("nothing: {}", "'nothing' is not a kind of finding; the kinds are cache, "),
        ("links: [x]", "links: input should be a valid dictionary, found"),
        ("links: {/etc/x: }", "links: /etc/x: input should be a valid string, found None"),
        ("links: {/etc/x: ''}", "links: /etc/x: string should match pattern"),
        ("links: {/x: a, /x: b}", "written twice: /x"),
        ("- x", "the file: input should be a valid dictionary, found"),
        (":\n  - }", "while parsing"),
    ):
        allowlist.write_text(text)
        with pytest.raises(ToolError, match=cause):
            read_allowlist([allowlist], kinds=KINDS)


def test_an_invalid_image_or_a_damaged_object_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--image", str(tmp_path / "none")]) == 1
    assert "an OCI layout directory is needed here" in capsys.readouterr().err
    layout = image(tmp_path, program(build(needed=["liba.so"])[:300]))
    assert main(["--image", str(layout)]) == 1
    assert "/usr/bin/app: damaged ELF object" in capsys.readouterr().err

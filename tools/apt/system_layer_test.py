"""The system layer does what is declared for its packages, and refuses what nobody declared."""

import base64
import json
import sys
import tarfile
from pathlib import Path

import pytest

from tools.apt import deb_layer, system_layer
from tools.apt.root_for_test import list_packages
from tools.archive.debs_for_test import TarMember, directory, symlink, write_deb
from tools.elf.elf_for_test import build

_SCRIPT = {"postinst": b"#!/bin/sh\n"}
_LIB = "usr/lib/x86_64-linux-gnu"
_PYTHON = f"usr/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
_SCRIPTS = """\
base-files:
  does: makes directories and a file
  actions:
    - {directory: run/lock, mode: "1777"}
    - {copy: usr/share/base-files/profile, to: etc/profile}
ca-certificates:
  does: collects certificates
  actions: [build: ca_bundle]
libblas3:
  does: makes an alternative
  actions:
    - alternative: libblas.so.3-{triplet}
      link: usr/lib/{triplet}/libblas.so.3
      path: usr/lib/{triplet}/blas/libblas.so.3
libc-bin:
  does: copies a file and runs ldconfig
  actions:
    - {copy: usr/share/libc-bin/nsswitch.conf, to: etc/nsswitch.conf}
    - build: ld_cache
python3.11:
  does: compiles the library
  actions: [build: python_bytecode]
tzdata:
  does: sets the time zone
  actions:
    - {symlink: etc/localtime, target: /usr/share/zoneinfo/Etc/UTC}
    - {file: etc/timezone, content: "Etc/UTC\\n"}
"""
_PEM = (
    b"-----BEGIN CERTIFICATE-----\n"
    + base64.encodebytes(b"certificate")
    + b"-----END CERTIFICATE-----\n"
)


def _packages(path: Path, *, without: str = "") -> list[Path]:
    contents: dict[str, list[TarMember]] = {
        "base-files": [
            directory("./tmp/", mode=0o1777),
            directory("./etc/", mode=0o711),
            directory("./var/run/"),
            TarMember("./usr/share/base-files/profile", b"umask 022\n"),
        ],
        "ca-certificates": [TarMember("./usr/share/ca-certificates/mozilla/A.crt", _PEM)],
        "libblas3": [
            TarMember(f"./{_LIB}/blas/libblas.so.3.11", build("libblas.so.3")),
            symlink(f"./{_LIB}/blas/libblas.so.3", "libblas.so.3.11"),
        ],
        "libc-bin": [
            TarMember("./etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n"),
            TarMember("./etc/ld.so.conf.d/x86_64-linux-gnu.conf", f"/{_LIB}\n".encode()),
            TarMember("./usr/share/libc-bin/nsswitch.conf", b"passwd: files\n"),
        ],
        "tzdata": [],
        "python3.11": [
            TarMember(f"./{_PYTHON}/json/decoder.py", b"x = {'a', 'b'}\n"),
            TarMember(f"./{_PYTHON}/json/scanner.py", b"z = 1\n"),
            TarMember(f"./{_PYTHON}/abc.py", b"y = 1\n"),
        ],
    }
    return [
        write_deb(path, name, members, files=_SCRIPT)
        for name, members in contents.items()
        if name != without
    ]


def _flags(path: Path, debs: list[Path], *more: str) -> list[str]:
    path.mkdir(exist_ok=True)
    lock = path / "lock.json"
    glob = f"{_PYTHON}/json/__pycache__/scanner.*"
    lock.write_text(json.dumps({"mtime": 1_700_000_000, "excluded_paths": [{"glob": glob}]}))
    scripts = path / "scripts.yaml"
    scripts.write_text(_SCRIPTS)
    flags = ["--maintainer-scripts", str(scripts), *more]
    flags += ["--lock", str(lock), "--arch", "amd64", "--out", f"{path}/l.tar.gz"]
    flags += ["--descriptor", f"{path}/l.json"]
    listings = [list_packages(deb, excluded=[glob], into=path) for deb in debs]
    return flags + [f"--listing={listing}" for listing in listings]


class _Layer:
    def __init__(self, path: Path, *more: str) -> None:
        assert system_layer.main(_flags(path, _packages(path), *more)) == 0
        with tarfile.open(path / "l.tar.gz") as tar:
            self.members = {member.name: member for member in tar}
            self.content = {
                member.name: stream.read()
                for member in tar
                if member.isreg() and (stream := tar.extractfile(member))
            }


def test_what_is_declared_for_the_packages_is_there(tmp_path: Path) -> None:
    layer = _Layer(tmp_path, "--user", "app:1000:1000:/app")
    links = {name: info.linkname for name, info in layer.members.items() if info.issym()}
    assert links == {
        "etc/alternatives/libblas.so.3-x86_64-linux-gnu": f"/{_LIB}/blas/libblas.so.3",
        f"{_LIB}/libblas.so.3": "/etc/alternatives/libblas.so.3-x86_64-linux-gnu",
        "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
        "etc/ssl/certs/A.pem": "/usr/share/ca-certificates/mozilla/A.crt",
    }
    assert b"app:x:1000:1000::/app:/bin/sh\n" in layer.content["etc/passwd"]
    assert b"app:x:1000:\n" in layer.content["etc/group"]
    assert layer.content["etc/nsswitch.conf"] == b"passwd: files\n"
    assert layer.content["etc/timezone"] == b"Etc/UTC\n"
    assert layer.content["etc/profile"] == b"umask 022\n"
    assert layer.content["etc/ssl/certs/ca-certificates.crt"] == _PEM
    assert layer.members["run/lock"].mode == 0o1777
    assert f"/{_LIB}/libblas.so.3\0".encode() in layer.content["etc/ld.so.cache"]


def test_the_library_is_compiled_so_that_no_time_can_make_it_stale(tmp_path: Path) -> None:
    content = _Layer(tmp_path).content
    tag = sys.implementation.cache_tag
    for name in ("json/__pycache__/decoder", "__pycache__/abc"):
        pyc = content[f"{_PYTHON}/{name}.{tag}.pyc"]
        assert pyc[4:8] == b"\x01\x00\x00\x00"  # PEP 552: by hash, unchecked
        assert f"/{_PYTHON}/".encode() in pyc


def test_bytecode_can_be_left_out_where_the_module_stays(tmp_path: Path) -> None:
    names = [name for name in _Layer(tmp_path).members if name.endswith(".pyc")]
    assert [name.rpartition("/")[2].partition(".")[0] for name in names] == ["abc", "decoder"]


def test_directories_keep_the_modes_that_packages_gave_them(tmp_path: Path) -> None:
    members = _Layer(tmp_path).members
    assert members["etc"].mode == 0o711
    assert "tmp" not in members
    assert "var/run" not in members


def test_threads_and_order_of_packages_change_no_byte(tmp_path: Path) -> None:
    debs = _packages(tmp_path)
    results = set()
    for number, order in enumerate((debs, debs[::-1]), start=1):
        out = tmp_path / f"out{number}"
        assert system_layer.main(_flags(out, order, "--jobs", str(number))) == 0
        results.add((out / "l.tar.gz").read_bytes())
    assert len(results) == 1


def _error(path: Path, capsys: pytest.CaptureFixture[str], debs: list[Path], *more: str) -> str:
    assert system_layer.main(_flags(path / "out", debs, *more)) == 1
    error = capsys.readouterr().err
    assert error.startswith("system_layer: ")
    assert error.count("\n") == 1
    assert not (path / "out/l.tar.gz").exists()
    return error


def test_an_undeclared_script_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = write_deb(tmp_path, "new", files={"preinst": b"", "postinst": b"", "prerm": b""})
    error = _error(tmp_path, capsys, [*_packages(tmp_path), new])
    data = f"{tmp_path}/out/scripts.yaml"
    assert f"package 'new' has a preinst and a postinst, and {data} says nothing about it" in error
    assert f"add 'new: {{does: …, actions: […], reason: …}}' to {data}" in error


def test_a_product_adds_its_own_declarations_and_overrides_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "new: {does: it, reason: it is not wanted}\n"
        "tzdata: {does: it, actions: [{file: etc/timezone, content: Europe/Berlin}]}\n"
    )
    flags = ("--maintainer-scripts", str(own))
    new = write_deb(tmp_path, "new", files=_SCRIPT)
    debs = [*_packages(tmp_path), new]
    assert system_layer.main(_flags(tmp_path, debs, *flags)) == 0
    with tarfile.open(tmp_path / "l.tar.gz") as tar:
        stream = tar.extractfile("etc/timezone")
        assert stream is not None
        assert stream.read() == b"Europe/Berlin"
        assert "etc/localtime" not in tar.getnames()
    unread = write_deb(tmp_path, "unread", files=_SCRIPT)
    assert f"scripts.yaml and {own} say nothing" in _error(
        tmp_path, capsys, [*debs, unread], *flags
    )


def test_a_file_of_another_repository_is_not_named_as_the_place_to_edit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = _flags(tmp_path, [*_packages(tmp_path), write_deb(tmp_path, "new", files=_SCRIPT)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "external/ours").mkdir(parents=True)
    (tmp_path / "scripts.yaml").rename("external/ours/scripts.yaml")
    flags[1] = "external/ours/scripts.yaml"
    assert system_layer.main(flags) == 1
    error = capsys.readouterr().err
    assert "external/ours/scripts.yaml says nothing about it" in error
    assert "to a YAML file of yours, the last of maintainer_scripts" in error
    own = tmp_path / "own.yaml"
    own.write_text("other: {does: it, reason: it is not wanted}\n")
    assert system_layer.main([*flags, "--maintainer-scripts", "own.yaml"]) == 1
    assert capsys.readouterr().err.endswith("reason: …}' to own.yaml\n")


def test_without_declarations_the_attribute_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = _flags(tmp_path, _packages(tmp_path))
    assert system_layer.main(flags[2:]) == 1
    error = capsys.readouterr().err
    assert "and no file says what to do for it" in error
    assert "to a YAML file of yours, the last of maintainer_scripts" in error


def test_a_package_of_another_architecture_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_deb(tmp_path, "x", architecture="arm64")
    assert "is for arm64, the layer for amd64" in _error(tmp_path, capsys, [other])


@pytest.mark.parametrize(
    ("without", "cause"),
    [("base-files", "'base-files' is not among the packages")],
)
def test_a_missing_package_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], without: str, cause: str
) -> None:
    assert cause in _error(tmp_path, capsys, _packages(tmp_path, without=without))


@pytest.mark.parametrize(
    ("package", "members", "cause"),
    [
        ("libblas3", [], "blas/libblas.so.3, which its alternative"),
        ("libblas3", [], "correct the entry in "),
        ("libc-bin", [], "/usr/share/libc-bin/nsswitch.conf, which its script copies"),
        ("libc-bin", [], "correct the entry in "),
        ("tzdata", [TarMember("./etc/timezone")], "/etc/timezone: a package ships it"),
        ("x", [TarMember("./usr/share/ca-certificates/B.crt", b"?")], "not exactly one PEM"),
        ("x", [TarMember("./etc/ld.so.conf.d/y.conf", b"?")], "neither a directory nor an"),
        ("x", [TarMember(f"./{_PYTHON}/bad.py", b"x = (")], "bad.py does not compile"),
    ],
)
def test_packages_that_contradict_a_declaration_are_an_error(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    package: str,
    members: list[TarMember],
    cause: str,
) -> None:
    files = {} if package == "x" else _SCRIPT
    debs = _packages(tmp_path, without=package)
    debs.append(write_deb(tmp_path, package, members, files=files))
    assert cause in _error(tmp_path, capsys, debs)


def test_a_library_of_another_python_than_the_tools_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    debs = _packages(tmp_path, without="python3.11")
    other = TarMember("./usr/lib/python3.2/abc.py")
    debs.append(write_deb(tmp_path, "python3.11", [other], files=_SCRIPT))
    assert "run this tool with the image's" in _error(tmp_path, capsys, debs)


def test_a_bad_user_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "'app' is not of the form" in _error(tmp_path, capsys, [], "--user=app", "--listing=x")


def test_packages_of_which_no_content_is_needed_are_not_opened_again(tmp_path: Path) -> None:
    debs = _packages(tmp_path)
    flags = _flags(tmp_path, debs)
    assert system_layer.main(flags) == 0
    layer = (tmp_path / "l.tar.gz").read_bytes()
    for deb in debs:
        if deb.name.startswith(("libblas3", "tzdata")):
            deb.unlink()
    assert system_layer.main(flags) == 0
    assert (tmp_path / "l.tar.gz").read_bytes() == layer


def test_a_layer_made_with_another_lock_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (deb,) = (each for each in _packages(tmp_path) if each.name.startswith("tzdata"))
    listing = list_packages(deb, excluded=["usr/share/man/**"], into=tmp_path)
    error = _error(tmp_path, capsys, [], f"--listing={listing}")
    assert f"{listing}: its layer and this one are made with different locks" in error


def test_a_damaged_library_is_named_where_its_layer_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deb = write_deb(tmp_path, "x", [TarMember(f"./{_LIB}/libx.so.1", b"\x7fELF\x02\x01")])
    flags = _flags(tmp_path, [])
    kept = [flag for flag in flags if flag.startswith(("--lock", "--out", "--descriptor"))]
    values = [flags[flags.index(flag) + 1] for flag in kept]
    pairs = [text for pair in zip(kept, values, strict=True) for text in pair]
    assert deb_layer.main([*pairs, f"--deb={deb}", f"--listing={tmp_path}/x.json"]) == 1
    assert f"{deb}: {_LIB}/libx.so.1: damaged ELF object" in capsys.readouterr().err

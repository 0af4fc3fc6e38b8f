"""Layers of real packages: they run as a root, and do what Debian's own tools would have done."""

import importlib.util
import json
import os
import posixpath
import sys
import tarfile
from pathlib import Path

import pytest

from tools.apt.root_for_test import run_in, unpack
from tools.archive.globs import Exclusions

_SOURCES = Path(os.environ["TEST_SRCDIR"])
_LAYERS = [_SOURCES / path for path in os.environ["LAYERS"].split()]
_LOCK = json.loads((_SOURCES / os.environ["LOCK"]).read_text())
_PYTHON = "python{}.{}".format(*sys.version_info)  # of the same suite as the layers


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("root")
    unpack(_LAYERS, path)
    return path


@pytest.fixture(scope="module")
def listings() -> list[dict[str, tarfile.TarInfo]]:
    result = []
    for layer in _LAYERS:
        with tarfile.open(layer) as tar:
            result.append({member.name: member for member in tar})
    return result


def test_the_cache_lists_what_the_real_ldconfig_lists(root: Path) -> None:
    ours = run_in(root, "ldconfig", "-p")
    before = {path for path in root.rglob("*") if not path.is_dir()}
    assert run_in(root, "ldconfig", "-C", "/tmp/real.cache") == ""
    made = {path for path in root.rglob("*") if not path.is_dir()} - before
    own = {root / "tmp/real.cache", root / "var/cache/ldconfig/aux-cache"}
    assert made == own, "ldconfig made links that the layer lacks"
    real = run_in(root, "ldconfig", "-p", "-C", "/tmp/real.cache")
    assert _entries(ours) == _entries(real)
    assert len(_entries(ours)) > 25


def _entries(listing: str) -> list[str]:
    return [line for line in listing.splitlines() if line.startswith("\t")]


def test_python_finds_libraries_by_the_cache(root: Path) -> None:
    program = "import ctypes.util; print(ctypes.util.find_library('ssl'))"
    assert run_in(root, "python3", "-c", program) == "libssl.so.3\n"


def test_python_trusts_exactly_the_authorities_of_the_package(root: Path) -> None:
    program = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
    shipped = len(list((root / "usr/share/ca-certificates").rglob("*.crt")))
    assert int(run_in(root, "python3", "-c", program)) == shipped > 100


def test_the_standard_library_is_compiled_for_this_interpreter_as_far_as_the_lock_says(
    root: Path,
) -> None:
    library = root / f"usr/lib/{_PYTHON}"
    excluded = Exclusions(tuple(rule["glob"] for rule in _LOCK["excluded_paths"]))
    sources = [path for path in library.rglob("*.py") if not path.is_symlink()]
    for source in sources:
        compiled = Path(importlib.util.cache_from_source(str(source)))
        assert compiled.is_file() != excluded.match(str(compiled.relative_to(root))), source
    assert len(sources) > 400
    program = (
        "import importlib.util, pathlib, sys\n"
        f"for path in pathlib.Path('/usr/lib/{_PYTHON}').rglob('*.pyc'):\n"
        "    head = path.read_bytes()[:16]\n"
        "    assert head[:4] == importlib.util.MAGIC_NUMBER, path\n"
        "    source = pathlib.Path(importlib.util.source_from_cache(str(path))).read_bytes()\n"
        "    assert head[8:] == importlib.util.source_hash(source), path\n"
    )
    run_in(root, "python3", "-B", "-c", program)


def test_users_hosts_zone_and_shell_are_there(root: Path) -> None:
    program = "import pwd, time; print(pwd.getpwnam('app').pw_uid, time.tzname[0])"
    assert run_in(root, "python3", "-c", program) == "1000 UTC\n"
    assert run_in(root, "sh", "-c", "echo $0; cat /etc/os-release").startswith("sh\nPRETTY_NAME=")
    lookup = "import socket; print(socket.gethostbyname('localhost'))"
    assert run_in(root, "python3", "-c", lookup) == "127.0.0.1\n"


def test_no_link_leads_nowhere(root: Path) -> None:
    dangling = []
    for path in root.rglob("*"):
        if not path.is_symlink():
            continue
        at, target = f"/{path.relative_to(root)}", str(path.readlink())
        for _ in range(40):
            reached = posixpath.normpath(posixpath.join(posixpath.dirname(at), target))
            real = root / reached.lstrip("/")
            if not real.is_symlink():
                break
            at, target = reached, str(real.readlink())
        # Parents that are links themselves are relative, so this is inside the root.
        if not real.exists():
            dangling.append(f"/{path.relative_to(root)} → {path.readlink()!s}")
    assert sorted(dangling) == []


def test_no_path_is_in_two_layers(listings: list[dict[str, tarfile.TarInfo]]) -> None:
    seen: set[str] = set()
    for listing in listings:
        files = {name for name, member in listing.items() if not member.isdir()}
        assert not files & seen
        seen |= files


def test_owners_times_and_modes_are_what_an_image_may_have(
    listings: list[dict[str, tarfile.TarInfo]],
) -> None:
    modes: dict[str, int] = {}
    for listing in listings:
        for name, member in listing.items():
            assert member.mtime == _LOCK["mtime"], name
            assert (member.uname, member.gname) == ("", ""), name
            assert member.mode & 0o6000 == 0, name
            assert member.isdir() or member.isreg() or member.issym() or member.islnk(), name
            if member.isdir():
                assert modes.setdefault(name, member.mode) == member.mode, name
            elif not member.issym():
                assert member.mode & 0o022 == 0, name
    assert modes["tmp"] == modes["var/tmp"] == 0o1777
    assert modes["root"] == 0o700


def test_scanners_see_every_locked_package_with_its_copyright(root: Path) -> None:
    status = root / "var/lib/dpkg/status.d"
    packages = sorted(path.name for path in status.iterdir() if path.suffix != ".md5sums")
    arch = os.environ["ARCH"]
    expected = {
        name for group in ("base", "python", "shell") for name in _LOCK["groups"][group][arch]
    }
    assert set(packages) == expected
    for name in packages:
        stanza = (status / name).read_text().splitlines()
        assert stanza[:2] == [f"Package: {name}", "Status: install ok installed"]
        assert (root / "usr/share/doc" / name / "copyright").is_file(), name
        for line in (status / f"{name}.md5sums").read_text().splitlines():
            assert os.path.lexists(root / line.partition("  ")[2]), line

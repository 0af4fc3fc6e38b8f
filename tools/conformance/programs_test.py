"""Every program of the lock runs, in a root that has nothing of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tools.apt.lockfile import read_lock
from tools.conformance.programs_for_test import Programs, programs
from tools.wheels.lockfile import parse_lock

# Package → what prints its version.
VERSIONS = {
    "aardvark-dns": ("/usr/lib/podman/aardvark-dns", "--version"),
    "conmon": ("conmon", "--version"),
    "crun": ("crun", "--version"),
    "debsbom": ("debsbom", "--version"),
    "diffoscope-minimal": ("diffoscope", "--version"),
    "docker-compose": ("docker-compose", "version"),
    "netavark": ("/usr/lib/podman/netavark", "--version"),
    "nftables": ("/usr/sbin/nft", "--version"),
    "notation": ("notation", "version"),
    "oras": ("oras", "version"),
    "podman": ("podman", "--version"),
    "skopeo": ("skopeo", "--version"),
    "umoci": ("umoci", "--version"),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return programs(tmp_path_factory.mktemp("programs"), GREETING="hello")


@pytest.mark.parametrize("package", VERSIONS)
def test_the_program_is_of_the_version_that_is_locked(here: Programs, package: str) -> None:
    lock = read_lock(Path(os.environ["CONFORMANCE_LOCK"]))
    versions = {each.version for each in lock.packages if each.name == package}
    (upstream,) = {re.split(r"[-+]", version)[0] for version in versions}
    assert re.search(rf"\bv?{re.escape(upstream)}\b", here.run(*VERSIONS[package]))


def test_the_readme_names_the_locked_versions() -> None:
    lock = read_lock(Path(os.environ["CONFORMANCE_LOCK"]))
    locked = {each.name: re.split(r"[-+]", each.version)[0] for each in lock.packages}
    for path in map(Path, os.environ["PYTHON_LOCKS"].split()):
        wheels = parse_lock(path.read_text(encoding="utf-8"), source=str(path))
        locked |= {wheel.name: wheel.version for wheel in wheels}
    readme = Path(os.environ["README"]).read_text(encoding="utf-8")
    named = dict(
        pair
        for row in re.findall(r"^\| ([^|]+) \|", readme, re.MULTILINE)
        for pair in re.findall(r"([a-z][a-z-]+) (\d[\d.]*)", row)
    )
    assert len(named) > 15
    assert {name: locked.get(name) for name in named} == named


def test_programs_whose_builds_know_no_version_start(here: Programs) -> None:
    assert "devel" in here.run("cosign", "version")
    assert "devel" in here.run("kustomize", "version")
    assert "could not determine" in here.run("crane", "version")


def test_nothing_of_the_machine_is_seen_but_the_shared_directory(here: Programs) -> None:
    (here.work / "given").write_text("in")
    lists = "os.listdir('.'), os.listdir('/'), os.environ['GREETING']"
    shared, root, greeting = here.read(
        "python3", "-c", f"import json, os; print(json.dumps([{lists}]))"
    )
    assert shared == ["given"]
    assert greeting == "hello"
    # The way to the shared directory is there, whatever its name.
    assert not {"home", "root", "srv"} & {*root} - {here.work.parts[1]}


def test_the_state_stays_between_calls_and_a_failure_is_told(here: Programs) -> None:
    here.run("python3", "-c", "open('/var/kept', 'w').write('x')")
    assert here.run("python3", "-c", "print(open('/var/kept').read())") == "x\n"
    assert "no such file" in here.refused("skopeo", "inspect", "oci:missing")
    with pytest.raises(AssertionError, match="no such file"):
        here.run("skopeo", "inspect", "oci:missing")

"""hadolint, checkov and kubernetes-validate find nothing of weight in the files of a deployment.

FILES has them. HADOLINT, CHECKOV and KUBERNETES_VALIDATE are the programs, with what comes first of
their arguments.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

# Check of checkov → why its finding is accepted.
ACCEPTED: Mapping[str, str] = {}
FRAMEWORKS = ("dockerfile", "kubernetes", "secrets")
BAD_DOCKERFILE = "FROM debian\nRUN apt-get install curl\n"
BAD_POD = """
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  containers:
    - {name: bad, image: "example/app:latest", ports: many, securityContext: {privileged: true}}
"""
# Put together here, or this file would have a secret in it.
BAD_SECRET = "\nx-key: " + "AKIA" + "IOSFODNN7" + "EXAMPLF" + "\n"


def _run(program: str, *arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    first, *more = shlex.split(os.environ[program])
    return subprocess.run(
        [str(Path(first).absolute()), *more, *arguments],
        cwd=directory,
        env={"HOME": str(directory), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _hadolint(directory: Path) -> list[str]:
    files = [
        path.name
        for path in directory.iterdir()
        if path.name.startswith(("Dockerfile", "Containerfile"))
    ]
    if not files:
        return []
    done = _run("HADOLINT", "--no-fail", "--format=json", *files, directory=directory)
    assert done.returncode == 0, done.stderr
    return [f"{each['file']}: {each['code']}" for each in json.loads(done.stdout)]


def _is_manifest(path: Path) -> bool:
    if path.suffix not in {".yaml", ".yml"}:
        return False
    documents = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return any(isinstance(each, dict) and "apiVersion" in each for each in documents)


def _kubernetes_validate(directory: Path) -> str:
    manifests = [path.name for path in sorted(directory.iterdir()) if _is_manifest(path)]
    if not manifests:
        return ""
    done = _run("KUBERNETES_VALIDATE", "--strict", "--quiet", *manifests, directory=directory)
    return done.stdout + done.stderr if done.returncode else ""


def _checkov(directory: Path) -> Iterator[dict[str, Any]]:
    """The reports of each framework that found a file to judge."""
    # Without --skip-download it asks its maker's server.
    flags = ["--skip-download", "--compact", "--quiet", "--output=json", "--framework", *FRAMEWORKS]
    done = _run("CHECKOV", "--directory=.", *flags, directory=directory)
    assert done.stdout, done.stderr
    reports = json.loads(done.stdout)
    for report in reports if isinstance(reports, list) else [reports]:
        if "results" in report:
            assert report["summary"]["parsing_errors"] == 0
            yield report


def _findings(directory: Path) -> set[str]:
    return {
        f"{Path(failed['file_path']).name}: {failed['check_id']}"
        for report in _checkov(directory)
        for failed in report["results"]["failed_checks"]
        if failed["check_id"] not in ACCEPTED
    }


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The deployment's files, side by side."""
    paths = [Path(path) for path in os.environ["FILES"].split()]
    assert len({path.name for path in paths}) == len(paths) > 0
    for path in paths:
        shutil.copyfile(path, tmp_path / path.name)
    return tmp_path


def test_the_deployment_has_no_finding(files: Path) -> None:
    assert _hadolint(files) == []
    assert _kubernetes_validate(files) == ""
    assert _findings(files) == set()


def test_every_program_finds_what_is_planted(files: Path) -> None:
    (files / "Dockerfile").write_text(BAD_DOCKERFILE)
    (files / "pod.yaml").write_text(BAD_POD)
    with (files / "compose.yaml").open("a") as stream:
        stream.write(BAD_SECRET)
    assert "Dockerfile: DL3006" in _hadolint(files)
    assert "spec.containers.0.ports: 'many' is not of type" in _kubernetes_validate(files)
    found = _findings(files)
    # A privileged container, an image without a user, and the key.
    assert found >= {
        "pod.yaml: CKV_K8S_16",
        "Dockerfile: CKV_DOCKER_3",
        "compose.yaml: CKV_SECRET_2",
    }
    assert {each.partition(":")[0] for each in found} == {"Dockerfile", "compose.yaml", "pod.yaml"}

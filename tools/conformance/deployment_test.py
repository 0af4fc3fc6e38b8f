"""hadolint, checkov and kubernetes-validate find nothing of weight in the files of a deployment.

FILES has them, below DIRECTORY. OVERLAYS are directories in it that kustomize builds; the component
at PINS, which names an image of IMAGES each by its digest, is written here. HADOLINT, CHECKOV and
KUBERNETES_VALIDATE are the programs, with what comes first of their arguments. What kustomize built
and what the programs said are among the outputs.
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

from tools.conformance.programs_for_test import programs

# Check of checkov → why its finding is accepted. What concerns one object is an annotation of it.
ACCEPTED: Mapping[str, str] = {
    "CKV_K8S_40": "the images' user is 1000, who owns the data; no path of a host is mounted",
}
PINS = """
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
images:
"""
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
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.name.startswith(("Dockerfile", "Containerfile"))
    ]
    if not files:
        return []
    done = _run("HADOLINT", "--no-fail", "--format=json", *files, directory=directory)
    assert done.returncode == 0, done.stderr
    return [f"{each['file']}: {each['code']}" for each in json.loads(done.stdout)]


def _kubernetes_validate(directory: Path) -> str:
    manifests = [path.name for path in sorted(directory.glob("*.yaml"))]
    done = _run("KUBERNETES_VALIDATE", "--strict", "--quiet", *manifests, directory=directory)
    return done.stdout + done.stderr if done.returncode else ""


def _checkov(directory: Path, *frameworks: str) -> Iterator[dict[str, Any]]:
    """The reports of each framework that found a file to judge."""
    # Without --skip-download it asks its maker's server.
    flags = ["--skip-download", "--compact", "--quiet", "--output=json", "--framework", *frameworks]
    done = _run("CHECKOV", "--directory=.", *flags, directory=directory)
    assert done.stdout, done.stderr
    with (_outputs(directory) / "checkov.json").open("a") as stream:
        stream.write(done.stdout)
    reports = json.loads(done.stdout)
    for report in reports if isinstance(reports, list) else [reports]:
        if "results" in report:
            assert report["summary"]["parsing_errors"] == 0
            yield report


def _findings(directory: Path, *frameworks: str) -> set[str]:
    return {
        f"{Path(failed['file_path']).name}: {failed['check_id']}"
        for report in _checkov(directory, *frameworks)
        for failed in report["results"]["failed_checks"]
        if failed["check_id"] not in ACCEPTED
    }


def _outputs(otherwise: Path) -> Path:
    return Path(os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR") or otherwise)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The deployment's files, as they lie."""
    result = tmp_path / "files"
    for path in map(Path, os.environ["FILES"].split()):
        target = result / path.relative_to(os.environ["DIRECTORY"])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return result


@pytest.fixture
def manifests(files: Path, tmp_path: Path) -> Path:
    """What kustomize builds of each overlay."""
    here = programs(tmp_path / "programs")
    shutil.copytree(files, here.work / "files")
    pins = here.work / "files" / os.environ["PINS"] / "kustomization.yaml"
    pins.parent.mkdir(parents=True)
    pins.write_text(PINS + "".join(map(_pin, os.environ["IMAGES"].split())))
    result = tmp_path / "manifests"
    result.mkdir()
    for overlay in os.environ["OVERLAYS"].split():
        text = here.run("kustomize", "build", f"files/{overlay}")
        for folder in {result, _outputs(result)}:
            (folder / f"{Path(overlay).name}.yaml").write_text(text)
    return result


def _pin(name: str) -> str:
    return f"  - {{name: {name}, newName: example.com/{name}, digest: sha256:{64 * '1'}}}\n"


def _workloads(manifests: Path) -> Iterator[dict[str, Any]]:
    for path in manifests.glob("*.yaml"):
        for each in yaml.safe_load_all(path.read_text()):
            if "template" in each.get("spec", {}):
                yield each["spec"]["template"]["spec"]


def test_the_deployment_has_no_finding(files: Path, manifests: Path) -> None:
    assert _hadolint(files) == []
    assert _findings(files, "dockerfile", "secrets") == set()
    assert _kubernetes_validate(manifests) == ""
    assert _findings(manifests, "kubernetes") == set()


def test_every_container_names_its_image_by_digest(manifests: Path) -> None:
    images = {
        container["image"]
        for pod in _workloads(manifests)
        for container in (*pod.get("initContainers", []), *pod["containers"])
    }
    assert {image.partition("@sha256:")[0] for image in images} == {
        f"example.com/{name}" for name in os.environ["IMAGES"].split()
    }
    assert all("@sha256:" in image for image in images)


def test_every_program_finds_what_is_planted(files: Path, manifests: Path) -> None:
    (files / "Dockerfile").write_text(BAD_DOCKERFILE)
    (manifests / "pod.yaml").write_text(BAD_POD)
    with (files / "compose.yaml").open("a") as stream:
        stream.write(BAD_SECRET)
    assert "Dockerfile: DL3006" in _hadolint(files)
    assert "spec.containers.0.ports: 'many' is not of type" in _kubernetes_validate(manifests)
    found = _findings(files, "dockerfile", "secrets") | _findings(manifests, "kubernetes")
    # A privileged container, an image without a user, and the key.
    assert found >= {
        "pod.yaml: CKV_K8S_16",
        "Dockerfile: CKV_DOCKER_3",
        "compose.yaml: CKV_SECRET_2",
    }
    assert {each.partition(":")[0] for each in found} == {"Dockerfile", "compose.yaml", "pod.yaml"}

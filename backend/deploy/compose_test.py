"""compose.yaml, run by docker-compose and Podman from the images of this checkout.

From nothing to a video analysed; each service killed; down, and up again. IMAGES has a pair
NAME=LAYOUT for each image. `compose.log` among the outputs has what every command printed.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from deploy import prepare

from tools.conformance.compose_for_test import OUTER_HOST, Engine, engine
from tools.conformance.programs_for_test import copy_layout

T = TypeVar("T")
COMPOSE = Path(__file__).with_name("compose.yaml")
SERVICES = ("postgres", "redis", "worker", "api")
# The one user of the tests' namespace owns the volumes; Podman would give them to user 1000.
MAPPED = """
volumes:
  videos: {driver_opts: &mapped {o: "uid=0,gid=0"}}
  database: {driver_opts: *mapped}
  queue: {driver_opts: *mapped}
"""
REACH = f"import socket; print(socket.create_connection(('{OUTER_HOST}', 80), 5).recv(7))"
REDIS = """
import redis
client = redis.Redis("redis")
print(client.ping())
try:
    client.keys()
except redis.exceptions.NoPermissionError as error:
    print(error)
"""
WIDTH, HEIGHT, FRAMES, RATE = 160, 120, 60, 10


def film(seed: int) -> bytes:
    """Return a film of 6 s in which a square crosses a still wall; `seed` makes the wall."""
    wall = bytes(random.Random(seed).choices(range(60, 100), k=WIDTH * HEIGHT))
    frames = [f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{RATE}:1 Ip A1:1 Cmono\n".encode()]
    for index in range(FRAMES):
        picture = bytearray(wall)
        if 20 <= index < 50:
            for row in range(40, 80):
                start = row * WIDTH + (index - 20) * 4
                picture[start : start + 30] = b"\xe0" * 30
        frames.append(b"FRAME\n" + picture)
    return b"".join(frames)


def eventually(poll: Callable[[], T | None], what: str, *, seconds: float = 120) -> T:
    """Poll until the result is true; fail with `what` and the last exception otherwise."""
    deadline = time.monotonic() + seconds
    failure: object = None
    while time.monotonic() < deadline:
        try:
            if result := poll():
                return result
        except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
            failure = error
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}; {failure!r}")


@dataclass
class Deployment:
    """The services, and a client with a key."""

    engine: Engine
    key: str = ""

    def compose(self, *words: str) -> str:
        """Run docker-compose as the README does."""
        files = ("--env-file=images.env", "--file=compose.yaml", "--file=mapped.yaml")
        return self.engine.compose(*files, *words)

    def python(self, service: str, code: str) -> str:
        """Run Python in a service's container."""
        return self.compose("exec", "-T", service, "python3", "-c", code)

    def api(self, method: str, path: str, **more: Any) -> Any:
        """Return the JSON of a successful request."""
        headers = {"Authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        reply = self.engine.published(method, f"/api/v1{path}", headers=headers, **more)
        if reply.status // 100 != 2:
            raise OSError(f"{method} {path}: {reply.status} {reply.body!r}")
        return reply.json()

    def analysed(self, seed: int) -> int:
        """Upload a film and wait for its analysis; return the number of events."""
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{seed}.y4m"'
        body = f"{head}\r\n\r\n".encode() + film(seed) + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        video = eventually(
            lambda: self.api("POST", "/videos", body=body, headers=headers), f"film {seed} stored"
        )
        path = f"/videos/{video['id']}"

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.api("GET", path)["analysis"]
            return None if found["status"] in {"queued", "running"} else found

        analysis = eventually(ended, f"film {seed} analysed")
        assert analysis["status"] == "done", analysis
        found = self.api("GET", f"/analyses/{analysis['id']}/events")["events"]
        self.engine.note(f"{video['filename']}: {analysis['status']}, {len(found)} event")
        return len(found)

    def healthy(self, service: str, *, other_than: int = 0) -> int:
        """Return the process of a service that is healthy; 0 if it is not, or still the old one."""
        state = self.engine.containers()[service]["State"]
        good = state["Health"]["Status"] == "healthy" and state["Pid"] != other_than
        return int(state["Pid"]) if good else 0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    outputs = Path(os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR") or tmp_path_factory.mktemp("log"))
    folder = tmp_path_factory.mktemp("engine")
    with engine(folder, log=outputs / "compose.log", variables={}) as running:
        work = running.here.work
        shutil.copyfile(COMPOSE, work / "compose.yaml")
        (work / "mapped.yaml").write_text(MAPPED)
        digests = {}
        for name, _, layout in (each.partition("=") for each in os.environ["IMAGES"].split()):
            copy_layout(Path(layout), work / name)
            digests[name] = work / f"{name}.digest"
            index = json.loads((work / name / "index.json").read_bytes())
            digests[name].write_text(index["manifests"][0]["digest"])
            found = running.here.run("podman", "pull", "-q", f"oci:{name}").strip()
            running.here.run("podman", "tag", found, f"{prepare.DEFAULT_REGISTRY}/{name}:tested")
            shutil.rmtree(work / name)
        images = prepare.read_images(prepare.DEFAULT_REGISTRY, digests)
        (work / "images.env").write_text(prepare.image_variables(images))
        prepare.write_secrets(work / "secrets")
        result = Deployment(running)
        yield result
        result.compose("logs", "--no-color")


def test_up_ends_when_everything_is_healthy(deployment: Deployment) -> None:
    said = deployment.compose("up", "--detach", "--wait")
    assert said.index("postgres-1  Healthy") < said.index("migrate-1  Started")
    assert said.index("migrate-1  Exited") < said.index("api-1  Started")
    found = deployment.engine.containers()
    assert set(found) == {"migrate", *SERVICES}
    assert found["migrate"]["State"]["ExitCode"] == 0
    assert all(deployment.healthy(service) for service in SERVICES)
    # By this, pods of Kubernetes know that they may start.
    deployment.compose("exec", "-T", "api", "alembic", "current", "--check-heads")


def test_every_container_is_confined(deployment: Deployment) -> None:
    images = (deployment.engine.here.work / "images.env").read_text()
    for service, container in deployment.engine.containers().items():
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert "no-new-privileges" in host["SecurityOpt"], service
        assert container["EffectiveCaps"] in ([], None), service
        assert container["Config"]["User"] == "1000:1000", service
        assert f"@{container['ImageDigest']}\n" in images, service
    published = {
        service: container["HostConfig"]["PortBindings"]
        for service, container in deployment.engine.containers().items()
    }
    assert published["api"] == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]}
    assert not any(ports for service, ports in published.items() if service != "api")


def test_every_service_has_limits(deployment: Deployment) -> None:
    # Podman drops them where there are no cgroups, as in a sandbox.
    text = deployment.compose("config", "--format", "json")
    services = json.JSONDecoder().raw_decode(text[text.index("{") :])[0]["services"]
    assert set(services) == {"migrate", *SERVICES}
    for service, settings in services.items():
        assert int(settings["mem_limit"]) > 0, service
        assert float(settings["cpus"]) > 0, service
        assert settings["pids_limit"] == 256, service


def test_no_secret_is_in_an_environment_or_command(deployment: Deployment) -> None:
    secrets = (deployment.engine.here.work / "secrets").iterdir()
    words = {word for path in secrets for word in path.read_text().split() if len(word) > 30}
    assert len(words) >= 3
    shown = json.dumps(deployment.engine.containers())
    assert [word for word in words if word in shown] == []


def test_nothing_is_possible_without_a_key_or_password(deployment: Deployment) -> None:
    assert deployment.engine.published("GET", "/api/v1/videos").status == 401
    answered, refused, *_ = deployment.python("worker", REDIS).splitlines()
    assert answered == "True"
    assert "no permissions to run the 'keys' command" in refused


def test_only_the_api_reaches_other_hosts(deployment: Deployment) -> None:
    assert "outside" in deployment.python("api", REACH)
    for service in ("worker", "postgres"):
        with pytest.raises(AssertionError, match="Network is unreachable"):
            deployment.python(service, REACH)


def test_an_upload_is_analysed(deployment: Deployment) -> None:
    words = ("exec", "-T", "api", "python3", "-m", "app.cli.keys", "create", "test")
    deployment.key = deployment.compose(*words).split()[-1]
    assert deployment.analysed(1) == 1
    # Podman's own filter leaves the decoders' confinement possible.
    isolation = deployment.engine.published("GET", "/health").json()["decoder_isolation"]
    assert {"no-new-privileges", "no-capabilities", "seccomp", "hidden-service"} <= {*isolation}


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_comes_back_and_works(deployment: Deployment, service: str) -> None:
    before = deployment.healthy(service)
    deployment.engine.kill(service)
    eventually(lambda: deployment.healthy(service, other_than=before), f"{service} healthy again")
    deployment.engine.note(f"{service}: healthy again")
    assert deployment.analysed(2 + SERVICES.index(service)) == 1


def test_down_and_up_lose_nothing(deployment: Deployment) -> None:
    before = deployment.api("GET", "/videos")["videos"]
    assert len(before) == 1 + len(SERVICES)
    deployment.compose("down")
    assert deployment.engine.containers() == {}
    deployment.compose("up", "--detach", "--wait")
    assert deployment.api("GET", "/videos")["videos"] == before
    content = deployment.engine.published(
        "GET",
        f"/api/v1/videos/{before[-1]['id']}/content",
        headers={"Authorization": f"Bearer {deployment.key}"},
    )
    assert content.body == film(1)

"""An image's healthcheck, run by an engine's rules."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.container.config import Healthcheck, image_user
from tools.container.healthcheck import Health, watch
from tools.container.plan import Spec
from tools.container.run import Container
from tools.image.cache import Cache, Rootfs
from tools.image.images_for_test import program_layer, write_image

ENV = {"PATH": "/bin"}


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rootfs]:
    folder: Path = tmp_path_factory.mktemp("image")
    image = write_image(folder / "layout", [program_layer()], {})
    with Cache(folder / "cache").rootfs(image.layers) as found:
        yield found


def watched(rootfs: Rootfs, check: Healthcheck, main: str, *, within: float = 20) -> Health:
    spec = Spec(rootfs=rootfs, user=image_user(rootfs, "app"))
    with Container(spec) as container, open(os.devnull, "rb+") as null:
        number = container.spawn(
            ["sh", "-c", main], env=ENV,
            stdin=null.fileno(), stdout=null.fileno(), stderr=null.fileno(),
        )  # fmt: skip
        return watch(container, check, main=number, env=ENV, workdir="/", within=within)


def script(text: str) -> tuple[str, ...]:
    return ("CMD", "sh", "-c", text)


def test_one_success_makes_it_healthy(rootfs: Rootfs) -> None:
    check = Healthcheck(script("ls /tmp/ready"), interval=0.1)
    health = watched(rootfs, check, "sleep 0.15; touch /tmp/ready; sleep 100")
    assert health.status == "healthy"
    assert health.probes[-1].detail.startswith("exit code 0")


def test_retries_in_a_row_make_it_unhealthy(rootfs: Rootfs) -> None:
    health = watched(
        rootfs, Healthcheck(script("echo broken; exit 1"), interval=0.05, retries=4), "sleep 100"
    )
    assert health.status == "unhealthy"
    assert [probe.detail for probe in health.probes] == ["exit code 1: broken"] * 4


def test_failures_in_the_start_period_do_not_count(rootfs: Rootfs) -> None:
    check = Healthcheck(
        script("ls /tmp/ready"), interval=30, retries=1, start_period=20, start_interval=0.05
    )
    health = watched(rootfs, check, "sleep 0.4; touch /tmp/ready; sleep 100")
    assert health.status == "healthy"
    assert len(health.probes) > 2


def test_a_probe_beyond_its_timeout_is_a_failure(rootfs: Rootfs) -> None:
    check = Healthcheck(script("sleep 100"), interval=0.05, timeout=0.2, retries=1)
    health = watched(rootfs, check, "sleep 100")
    assert health.status == "unhealthy"
    assert health.probes[0].detail == "no answer within its timeout of 0.2 s"


def test_a_healthcheck_that_does_not_exist_is_a_failure(rootfs: Rootfs) -> None:
    check = Healthcheck(("CMD", "nothing"), interval=0.05, retries=1)
    health = watched(rootfs, check, "sleep 100")
    assert health.status == "unhealthy"
    assert "not found in the image's $PATH" in health.probes[0].detail


def test_a_main_process_that_ends_is_neither_healthy_nor_unhealthy(rootfs: Rootfs) -> None:
    assert watched(rootfs, Healthcheck(script("true"), interval=5), "exit 3").status == "exited"


def test_the_first_probe_waits_one_interval(rootfs: Rootfs) -> None:
    check = Healthcheck(script("true"), interval=10)
    health = watched(rootfs, check, "sleep 100", within=0.3)
    assert (health.status, health.probes) == ("starting", ())

"""Docker's additions to an image config: healthcheck, stop signal, shell, and their media types.

Pure functions. `Healthcheck` is that of moby's docker-image-spec (specs-go/v1/image.go): durations
are integers of nanoseconds; defaults are left out, the engine applies them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tools.cli import ToolError
from tools.image import spec
from tools.linux.signals import parse_signal
from tools.oci.edits import list_of, object_of

# The units of Go's time.ParseDuration, as in a Dockerfile or compose file; in nanoseconds.
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)")
# The shortest wait Docker accepts (daemon/container.go, validateHealthCheck).
_SHORTEST = 10**6


@dataclass(frozen=True)
class Healthcheck:
    """A healthcheck to set; None leaves a member out. Durations in nanoseconds."""

    test: tuple[str, ...] | None = None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None

    def timing(self) -> dict[str, int]:
        """Return the members other than the test, as the config spells them."""
        members = {
            "Interval": self.interval,
            "Timeout": self.timeout,
            "StartPeriod": self.start_period,
            "StartInterval": self.start_interval,
            "Retries": self.retries,
        }
        return {name: value for name, value in members.items() if value is not None}


def parse_duration(text: str, *, what: str) -> int:
    """Return the nanoseconds of a duration such as `1m30s`; raise ToolError naming `what`."""
    if not _DURATION.fullmatch(text):
        raise ToolError(f"{what}: must be a duration such as '30s' or '1m30s', found {text!r}")
    total = sum(Fraction(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(text))
    if total.denominator != 1 or 0 < total < _SHORTEST:
        raise ToolError(f"{what}: must be 0s or at least 1ms, found {text!r}")
    return int(total)


def set_healthcheck(config: Mapping[str, Any], healthcheck: Healthcheck) -> dict[str, Any]:
    """Return the image config with the healthcheck set.

    Without a test, the timing of the present healthcheck changes. Raise ToolError for a malformed
    test, and for timing when there is no test to apply it to.
    """
    run = dict(object_of(config, "config"))
    if healthcheck.retries is not None and healthcheck.retries < 1:
        raise ToolError(f"healthcheck_retries: must be at least 1, found {healthcheck.retries}")
    timing = healthcheck.timing()
    if healthcheck.test is not None:
        _check_test(healthcheck.test, timing)
        run["Healthcheck"] = {"Test": list(healthcheck.test), **timing}
    elif timing:
        present = object_of(run, "Healthcheck")
        if not present:
            raise ToolError(
                f"{', '.join(timing)}: there is no healthcheck to apply it to: "
                "the image has none, and 'healthcheck' is not set"
            )
        run["Healthcheck"] = {**present, **timing}
    merged = {**config, "config": run}
    if isinstance(config.get("container_config"), dict):
        # podman prefers this leftover of a docker build to `config`, so it must not have one.
        left = {k: v for k, v in config["container_config"].items() if k != "Healthcheck"}
        merged["container_config"] = left
    return merged


def set_process(
    config: Mapping[str, Any], *, stop_signal: str | None, shell: tuple[str, ...] | None
) -> dict[str, Any]:
    """Return the image config with stop signal and shell; None keeps the present value."""
    run = dict(object_of(config, "config"))
    if stop_signal is not None:
        try:
            parse_signal(stop_signal)
        except ToolError as error:
            raise ToolError(f"stop_signal: {error}") from error
        run["StopSignal"] = stop_signal
    if shell is not None:
        run["Shell"] = list(shell)
    return {**config, "config": run}


def choose_media_types(
    config: Mapping[str, Any],
    *,
    present: str,
    asked: str | None,
    allow_ignored_healthcheck: bool,
) -> bool:
    """Return whether to write Docker's media types; `asked` is 'docker', 'oci' or None.

    By default an image with a healthcheck gets Docker's, and any other keeps those of its `present`
    manifest type. Raise ToolError when the healthcheck would be lost.
    """
    healthcheck = object_of(object_of(config, "config"), "Healthcheck")
    test = list_of(healthcheck, "Test", str) or ["NONE"]
    has_healthcheck = test[0] != "NONE"
    if asked is None:
        return has_healthcheck or spec.is_docker(present)
    if asked == "oci" and has_healthcheck and not allow_ignored_healthcheck:
        raise ToolError(
            "media_types 'oci' would lose the healthcheck: podman and buildah read it only with "
            "Docker's media types, since the OCI specification merely reserves the field; use "
            "media_types = 'docker', or allow_ignored_healthcheck = True to lose it on purpose"
        )
    return asked == "docker"


def lost_annotations(
    manifest: Mapping[str, Any], *, docker: bool, own: Collection[str]
) -> tuple[str, ...]:
    """Return the names of the annotations that Docker's media types leave out of the image.

    Those of the base image are of less use than the healthcheck, and not the user's to move into
    labels. Raise ToolError for `own` ones, which the build itself has set.
    """
    if not docker:
        return ()
    names = sorted(object_of(manifest, "annotations"))
    if set_here := [name for name in names if name in own]:
        raise ToolError(
            "Docker's manifests have no annotations, and these would be lost: "
            f"{', '.join(set_here)}; write them as labels, or lose the healthcheck on purpose with "
            "media_types = 'oci' and allow_ignored_healthcheck = True"
        )
    return tuple(names)


def convert_manifest(
    manifest: Mapping[str, Any], *, docker: bool
) -> tuple[str, str, list[dict[str, Any]]]:
    """Return manifest type, config type and layers of `manifest` in one family of media types.

    The layers' bytes are the same in both. Raise ToolError for what Docker's types cannot express.
    """
    layers = []
    for layer in manifest["layers"]:
        if docker and spec.layer_compression(layer["mediaType"]) == "zstd":
            raise ToolError(
                f"layer {layer['digest']} is compressed with zstd, which Docker's media types "
                "do not have and podman rejects; compress the layer with gzip, or use "
                "media_types = 'oci' with allow_ignored_healthcheck = True"
            )
        type_ = spec.convert_layer_type(layer["mediaType"], docker=docker)
        layers.append({**layer, "mediaType": type_})
    if docker:
        return spec.DOCKER_MANIFEST, spec.DOCKER_CONFIG, layers
    return spec.OCI_MANIFEST, spec.OCI_CONFIG, layers


def _check_test(test: tuple[str, ...], timing: Mapping[str, int]) -> None:
    kind = test[0] if test else None
    if kind not in ("CMD", "CMD-SHELL", "NONE"):
        raise ToolError(
            "healthcheck: must begin with 'CMD', 'CMD-SHELL' or 'NONE', "
            f"found {list(test)!r}; to run a program, put 'CMD' before it"
        )
    if kind == "CMD" and len(test) < 2:
        raise ToolError("healthcheck: 'CMD' must be followed by a program and its arguments")
    if kind == "CMD-SHELL" and len(test) != 2:
        raise ToolError(
            f"healthcheck: 'CMD-SHELL' takes one command line, found {len(test) - 1} arguments"
        )
    if kind == "NONE" and (len(test) > 1 or timing):
        raise ToolError("healthcheck: 'NONE' disables it and takes no arguments or timing")

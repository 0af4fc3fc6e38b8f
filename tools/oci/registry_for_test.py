"""A real registry (CNCF distribution) on loopback, started and stopped by a test.

The program is the one that `DOCKER_REGISTRY_BINARY` names; the BUILD file takes it from the locked
Debian package docker-registry. Without it tests fail, and say so.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CERTIFICATE = Path(__file__).parent / "testdata" / "loopback.crt"
KEY = Path(__file__).parent / "testdata" / "loopback.key"
USER, PASSWORD = "someone", "correct horse"
# bcrypt of PASSWORD at its lowest cost; the registry takes no other kind.
_HTPASSWD = f"{USER}:$2b$04$C2yXZX3052X/hTcPB.mK9.nZOcthhVkZ9GqntjJf0/.NJNOONZ2Hq\n"
_START_TIMEOUT = 20.0
_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True)
class Server:
    """A running registry, read over its own port, whatever lies in between for others."""

    port: int
    tls: bool = False
    authorized: bool = False

    @property
    def host(self) -> str:
        """Host and port, as in a repository's name."""
        return f"127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a GET."""
        if self.tls:
            context = ssl.create_default_context(cafile=str(CERTIFICATE))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
        headers = {"Accept": ", ".join(_TYPES)}
        if self.authorized:
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, body

    def manifest(self, name: str, reference: str) -> bytes | None:
        """The bytes of a manifest, or None when the registry has none of that name."""
        status, _, body = self.get(f"/v2/{name}/manifests/{reference}")
        return body if status == 200 else None

    def blob(self, name: str, digest: str) -> bytes | None:
        """The bytes of a blob, or None."""
        status, _, body = self.get(f"/v2/{name}/blobs/{digest}")
        return body if status == 200 else None


@contextmanager
def running(
    directory: Path,
    *,
    basic: bool = False,
    tls: bool = False,
    token_realm: str | None = None,
) -> Iterator[Server]:
    """Run a registry that keeps its data in `directory`."""
    program = os.environ.get("DOCKER_REGISTRY_BINARY")
    if not program:
        raise AssertionError(
            "DOCKER_REGISTRY_BINARY is not set: it must name the program docker-registry "
            "(Debian package docker-registry)"
        )
    directory.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    config = _config(directory, port, basic=basic, tls=tls, token_realm=token_realm)
    file = directory / "config.yml"
    # JSON is YAML.
    file.write_text(json.dumps(config))
    log = directory / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(Path(program).resolve()), "serve", str(file)],
            stdout=stream,
            stderr=stream,
            env={"OTEL_TRACES_EXPORTER": "none", "PATH": os.environ.get("PATH", "")},
        )
    try:
        _wait_for(port, process, log)
        yield Server(port=port, tls=tls, authorized=basic)
    finally:
        process.terminate()
        process.wait(timeout=10)


def docker_config(directory: Path, host: str, password: str = PASSWORD) -> Path:
    """A directory for DOCKER_CONFIG that knows the user for `host`."""
    directory.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return directory


def _config(
    directory: Path, port: int, *, basic: bool, tls: bool, token_realm: str | None
) -> dict[str, Any]:
    http_config: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "secret": "for tests"}
    if tls:
        http_config["tls"] = {"certificate": str(CERTIFICATE), "key": str(KEY)}
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "data")},
            "delete": {"enabled": True},
        },
        "http": http_config,
    }
    if basic:
        (directory / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    if token_realm:
        config["auth"] = {
            "token": {
                "realm": token_realm,
                "service": "test-registry",
                "issuer": "test-issuer",
                "rootcertbundle": str(CERTIFICATE),
            }
        }
    return config


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"the registry did not start: {log.read_text(errors='replace')}")

"""A real registry (CNCF distribution) on loopback, started and stopped by a test.

The program is the one that `DOCKER_REGISTRY_BINARY` names; the BUILD file takes it from the locked
Debian package docker-registry. Without it tests fail with a message.
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

import pytest
import trustme

from tools.image.layout import blob_path, read_layout

# A name that only a proxy of the tests knows how to reach.
PROXIED_HOST = "registry.example"
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
    """A running registry, read over its own port without any proxy; `data` is on its disk."""

    port: int
    ca: Path | None = None
    authorized: bool = False
    data: Path = Path()

    @property
    def host(self) -> str:
        """Host and port, as in a repository's name."""
        return f"127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a GET."""
        return self.request("GET", path)

    def request(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the response to a request."""
        if self.ca:
            context = ssl.create_default_context(cafile=str(self.ca))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port)
        headers = {"Accept": ", ".join(_TYPES)}
        if self.authorized:
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        connection.request(method, path, headers=headers)
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

    def assert_holds(self, name: str, layout: Path, *, tag: str | None = None) -> None:
        """Whether the image of a layout, and the tag, pull back byte for byte."""
        image = read_layout(layout)
        manifest = blob_path(layout, image.digest).read_bytes()
        for reference in filter(None, (image.digest, tag)):
            assert self.manifest(name, reference) == manifest
        for digest in [image.manifest["config"]["digest"], *(each.digest for each in image.layers)]:
            assert self.blob(name, digest) == blob_path(layout, digest).read_bytes()


@contextmanager
def running(
    directory: Path,
    *,
    basic: bool = False,
    tls: bool = False,
    token_realm: str | None = None,
    token_ca: Path | None = None,
) -> Iterator[Server]:
    """Run a registry that keeps its data in `directory`.

    With `tls` it has a certificate of an authority of its own, `Server.ca`. With `token_realm` it
    takes tokens that were signed by whom `token_ca` certifies.
    """
    program = os.environ.get("DOCKER_REGISTRY_BINARY")
    if not program:
        raise AssertionError(
            "DOCKER_REGISTRY_BINARY is not set: it must name the program docker-registry "
            "(Debian package docker-registry)"
        )
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = _config(directory, port)
    ca = None
    if tls:
        ca = directory / "ca.pem"
        config["http"]["tls"] = _certify(directory, ca)
    if basic:
        (directory / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    if token_realm:
        config["auth"] = {
            "token": {
                "realm": token_realm,
                "service": "test-registry",
                "issuer": "test-issuer",
                "rootcertbundle": str(token_ca),
            }
        }
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
        yield Server(port=port, ca=ca, authorized=basic, data=directory / "data")
    finally:
        process.terminate()
        process.wait(timeout=10)


def forget_the_user(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Remove credentials, certificates and proxies from the environment."""
    monkeypatch.setenv("HOME", str(home))
    names = ["DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "SSL_CERT_FILE", "SSL_CERT_DIR"]
    names += ["XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"]
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        names += [name, name.upper()]
    for name in names:
        monkeypatch.delenv(name, raising=False)


def docker_config(directory: Path, host: str, password: str = PASSWORD) -> Path:
    """A directory for DOCKER_CONFIG that knows the user for `host`."""
    directory.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (directory / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return directory


def _certify(directory: Path, ca_file: Path) -> dict[str, str]:
    """Certificate and key for every name of the registry, and the CA's certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_file)
    leaf = authority.issue_cert("127.0.0.1", "localhost", PROXIED_HOST)
    chain, key = directory / "registry.crt", directory / "registry.key"
    for position, certificate in enumerate(leaf.cert_chain_pems):
        certificate.write_to_path(chain, append=position > 0)
    leaf.private_key_pem.write_to_path(key)
    return {"certificate": str(chain), "key": str(key)}


def _config(directory: Path, port: int) -> dict[str, Any]:
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", "secret": "for tests"},
    }


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
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

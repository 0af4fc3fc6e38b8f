"""Mirrors that lie, over real HTTP and TLS: each is refused in words, and the old lock stays."""

import gzip
import http.server
import itertools
import lzma
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tools.apt.workspace_for_test import Workspace

_INRELEASE = "/dists/bookworm/InRelease"
_PACKAGES = "/dists/bookworm/main/binary-arm64/Packages.xz"
_HTML = b"<!DOCTYPE html><title>Sign in</title><p>This network wants you to sign in."
_BOMB = 16 << 20  # bytes that a small file unpacks to


@dataclass
class Reply:
    """An answer; `body` may be longer than what `size` announces, or never end."""

    body: Iterator[bytes]
    status: int = 200
    size: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


Answer = Callable[[str, bytes], Reply]


@dataclass
class Liar:
    """A mirror that answers as `answer` says for one path, and truthfully for all others."""

    url: str
    path: str = ""
    answer: Answer = lambda path, content: whole(content)
    sent: int = 0


def whole(content: bytes) -> Reply:
    return Reply(iter([content]), size=len(content))


@pytest.fixture
def scheme(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "http"))


@pytest.fixture
def liar(
    scheme: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Liar]:
    """The mirror of the workspace, which holds a good lock already."""
    assert workspace.run("--allow-expired") == 0
    settings = Liar("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/debian")
            content = (workspace.mirror / path.lstrip("/")).read_bytes()
            reply = settings.answer(path, content) if path == settings.path else whole(content)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.size is not None:
                self.send_header("Content-Length", str(reply.size))
            self.end_headers()
            try:
                for piece in reply.body:
                    self.wfile.write(piece)
                    settings.sent += len(piece)
            except OSError:
                pass  # the client has seen enough

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if scheme == "https":
        certificate = _certificate(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    settings.url = f"{scheme}://127.0.0.1:{server.server_port}/debian"
    monkeypatch.setenv("DEBIAN_MIRROR", settings.url)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield settings
    server.shutdown()
    server.server_close()


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    return Workspace(tmp_path, monkeypatch)


def _certificate(folder: Path) -> Path:
    """A key and a certificate for loopback, which signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a mirror")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "mirror.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def refusal(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, which must fail and leave the lock; return what it says."""
    before = workspace.lock.read_bytes()
    capsys.readouterr()
    assert workspace.run("--allow-expired") == 1
    assert workspace.lock.read_bytes() == before
    message = capsys.readouterr().err
    assert message.endswith("\nx.lock.json is left as it was\n")
    return message


@pytest.mark.parametrize("scheme", ["http", "https"], indirect=True)
def test_truthful_mirror_makes_the_same_lock_over_both(liar: Liar, workspace: Workspace) -> None:
    before = workspace.lock.read_bytes()
    assert workspace.run("--allow-expired") == 0
    assert workspace.lock.read_bytes() == before
    assert liar.url.startswith("http")


def endless(_: str, content: bytes) -> Reply:
    return Reply(itertools.chain([content], itertools.repeat(bytes(1 << 16))))


def bomb_of(compress: Callable[[bytes], bytes]) -> Answer:
    small = compress(bytes(_BOMB))
    assert len(small) < _BOMB >> 8
    return lambda path, content: whole(small)


_LIES: dict[str, tuple[str, Answer, str]] = {
    "InRelease is a page of HTML": (
        _INRELEASE,
        lambda path, content: whole(_HTML),
        "no good signature",
    ),
    "Packages are a page of HTML": (_PACKAGES, lambda path, content: whole(_HTML), "SHA256 is "),
    "InRelease is cut short, and says so": (
        _INRELEASE,
        lambda path, content: whole(content[:-100]),
        "no good signature",
    ),
    "InRelease breaks off": (
        _INRELEASE,
        lambda path, content: Reply(iter([content[:-100]]), size=len(content)),
        "broke off after",
    ),
    "Packages break off": (
        _PACKAGES,
        lambda path, content: Reply(iter([content[:-10]]), size=len(content)),
        "broke off after",
    ),
    "InRelease never ends": (_INRELEASE, endless, "larger than the "),
    "Packages never end": (_PACKAGES, endless, "larger than the "),
    "Packages are a bomb of gzip": (_PACKAGES, bomb_of(gzip.compress), "larger than the "),
    "Packages are a bomb of xz": (_PACKAGES, bomb_of(lzma.compress), "larger than the "),
    "Packages changed after InRelease": (
        _PACKAGES,
        lambda path, content: whole(content[:-1] + b"!"),
        "InRelease wants ",
    ),
    "InRelease is gone": (
        _INRELEASE,
        lambda path, content: Reply(iter([_HTML]), status=404, size=len(_HTML)),
        "HTTP Error 404",
    ),
    "InRelease redirects to another host": (
        _INRELEASE,
        lambda path, content: Reply(
            iter([]), status=302, size=0, headers={"Location": "https://localhost:1/InRelease"}
        ),
        "redirects to another host, localhost; if that is a mirror of yours, name it in DEBIAN_",
    ),
    "InRelease redirects to a file of this machine": (
        _INRELEASE,
        lambda path, content: Reply(
            iter([]), status=302, size=0, headers={"Location": "file:///etc/passwd"}
        ),
        "is not allowed",
    ),
    "InRelease redirects in a circle": (
        _INRELEASE,
        lambda path, content: Reply(
            iter([]), status=302, size=0, headers={"Location": "/debian" + _INRELEASE}
        ),
        "infinite loop",
    ),
}


@pytest.mark.parametrize("lie", _LIES)
def test_lie_is_refused_and_the_old_lock_stays(
    lie: str, liar: Liar, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    liar.path, liar.answer, words = _LIES[lie]
    message = refusal(workspace, capsys)
    assert words in message
    assert liar.sent < 40 << 20, "read to the end"


@pytest.mark.parametrize("scheme", ["https"], indirect=True)
def test_redirect_from_https_to_http_is_refused(
    liar: Liar, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = liar.url.replace("https", "http") + _INRELEASE
    liar.path = _INRELEASE
    liar.answer = lambda path, content: Reply(
        iter([]), status=301, size=0, headers={"Location": plain}
    )
    message = refusal(workspace, capsys)
    assert "redirects from https to a connection without encryption" in message


@pytest.mark.parametrize("scheme", ["https"], indirect=True)
def test_certificate_that_nobody_trusts_is_refused(
    liar: Liar,
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert liar.url
    assert "CERTIFICATE_VERIFY_FAILED" in refusal(workspace, capsys)

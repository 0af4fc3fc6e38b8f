"""Which proxy the environment names for an address."""

from __future__ import annotations

import urllib.parse

import pytest

from tools.cli import ToolError
from tools.registry.http_proxy import Proxy, find_proxy, is_loopback

URL = "http://user:p%40ss@proxy.example:3128"
PROXY = Proxy("proxy.example", 3128, {"Proxy-Authorization": "Basic dXNlcjpwQHNz"})


def _find(address: str, **environ: str) -> Proxy | None:
    return find_proxy(urllib.parse.urlsplit(address), environ)


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY"])
def test_the_variable_of_the_scheme_counts(variable: str) -> None:
    assert _find("https://reg.example/", **{variable: URL}) == PROXY
    assert _find("http://reg.example/", **{variable: URL}) is None
    assert _find("https://reg.example/") is None


def test_a_proxy_may_be_written_without_scheme_and_port() -> None:
    assert _find("http://reg.example/", http_proxy="proxy.example") == Proxy("proxy.example", 80)


@pytest.mark.parametrize(
    ("address", "no_proxy", "direct"),
    [
        ("https://reg.example/", "reg.example", True),
        ("https://reg.example/", "REG.example", True),
        ("https://a.reg.example/", "reg.example", True),
        ("https://a.reg.example/", ".reg.example", True),
        ("https://a.reg.example/", "*.reg.example", True),
        ("https://areg.example/", "reg.example", False),
        ("https://reg.example/", "other.example,reg.example", True),
        ("https://reg.example/", "other.example reg.example", True),
        ("https://reg.example:5000/", "reg.example:5000", True),
        ("https://reg.example:5000/", "reg.example:5001", False),
        ("https://reg.example/", "reg.example:443", True),
        ("http://reg.example/", "reg.example:443", False),
        ("https://10.1.2.3/", "10.0.0.0/8", True),
        ("https://11.1.2.3/", "10.0.0.0/8", False),
        ("https://10.1.2.3:5000/", "10.1.2.3", True),
        ("https://[fd00::1]:5000/", "fd00::/8", True),
        ("https://[fd00::1]:5000/", "[fd00::1]:5000", True),
        ("https://reg.example/", "10.0.0.0/8", False),
        ("https://reg.example/", "", False),
        ("https://reg.example/", ",.,", False),
        ("https://reg.example/", "*", True),
        ("https://127.0.0.1:5000/", "", True),
        ("https://localhost:5000/", "", True),
    ],
)
def test_no_proxy_is_read_as_by_other_programs(address: str, no_proxy: str, direct: bool) -> None:
    found = _find(address, http_proxy=URL, https_proxy=URL, NO_PROXY=no_proxy)
    assert (found is None) == direct


@pytest.mark.parametrize(
    "url", ["socks5://u:secret@p", "https://u:secret@p", "http://", "http://p:x"]
)
def test_an_unusable_proxy_is_an_error_without_its_password(url: str) -> None:
    with pytest.raises(ToolError, match="https_proxy: ") as error:
        _find("https://reg.example/", https_proxy=url)
    assert "secret" not in str(error.value)
    assert "secret" not in repr(PROXY)


def test_loopback_addresses_are_recognized() -> None:
    assert all(map(is_loopback, ("127.1.2.3", "localhost", "a.localhost", "::1")))
    others = ("localhost.example", "127.0.0.1.example", "127.example", "127.1", "", "10.0.0.1")
    assert not any(map(is_loopback, others))

"""Signing in with Google in a real browser, at a real OpenID provider on another site."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.common.exceptions import WebDriverException
from tests.support import openid, servers
from tests.support.browser import PHONE, Browser
from tests.support.openid import CLIENT_ID, CLIENT_SECRET, Provider
from tests.support.servers import Process, eventually

CALLBACK = "/api/v1/sign-in/callback"
NO_VIDEO = "01a21053-8a52-7156-bc2b-3e5cf2fcbf2c"
ROB: dict[str, object] = {"email": "rob@films.example"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Process, Provider]]:
    """Run provider and service, which are different sites; yield the service's URL."""
    home, port = tmp_path_factory.mktemp("films"), servers.free_port()
    with openid.provider() as provider:
        variables = {
            "GOOGLE_CLIENT_ID": CLIENT_ID,
            "GOOGLE_CLIENT_SECRET": CLIENT_SECRET,
            "GOOGLE_EDITORS": "films.example",
            "GOOGLE_READERS": "rob@films.example",
            "GOOGLE_ISSUER": provider.url,
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
        }
        provider.redirect_uri = variables["PUBLIC_URL"] + CALLBACK
        with servers.api(home / "data", log=home / "log", variables=variables, port=port) as (
            url,
            process,
        ):
            yield url, process, provider


def until_shown(browser: Browser, selector: str) -> None:
    """Wait for an element while pages are being left and loaded, which ends scripts, too."""

    def shown() -> bool:
        try:
            found = "return document.querySelector(arguments[0])?.checkVisibility()"
            return bool(browser.script(found, selector))
        except WebDriverException:
            return False

    eventually(shown)


def sign_in(browser: Browser, *, until: str = "#who") -> None:
    until_shown(browser, "#sign-in")
    browser.click("#sign-in")
    until_shown(browser, "button[name=user]")
    browser.click("button[name=user]")
    until_shown(browser, until)


def test_signing_in_and_out(
    browser: Browser, films: tuple[str, Process, Provider], clip_dir: Path, yard: Path
) -> None:
    url, process, _ = films
    browser.open(f"{url}/#video={NO_VIDEO}")
    until_shown(browser, "#sign-in")
    assert ("link", "Sign in with Google") in browser.accessible()
    browser.screenshot("sign-in-button")
    browser.resize(PHONE)
    assert browser.overflow() == []
    browser.resize((1280, 900))
    sign_in(browser)
    browser.until_text("ann@films.example", "#who")
    # Where it began, which does not exist; and nothing of the sign-in is in the address.
    browser.until_text("This video does not exist", "#notice")
    assert browser.driver.current_url.partition("#")[0] == f"{url}/"
    assert browser.script("return document.cookie") == ""
    browser.choose_files(yard)
    browser.until_text(yard.name, "#detail h2")
    browser.until_text("Done", "#state", timeout=60)
    loaded = "return [...document.images].every((each) => each.naturalWidth > 0)"
    browser.until(lambda: browser.script(loaded), "pictures, which only have the cookie")
    browser.screenshot("signed-in")
    browser.console()  # 401 before the sign-in
    browser.click("#sign-out")
    until_shown(browser, "#sign-in")
    script = "return fetch('/api/v1/videos').then((reply) => reply.status)"
    assert browser.script(script) == 401
    assert CLIENT_SECRET not in process.output()
    assert "code=" not in process.output()
    browser.console()


def test_readers_are_not_offered_what_they_cannot_do(
    browser: Browser, films: tuple[str, Process, Provider]
) -> None:
    url, _, provider = films
    browser.open(url)
    provider.faults.claims = ROB
    sign_in(browser)
    browser.until_text("rob@films.example (read only)", "#who")
    provider.faults.claims = {}
    browser.until_text("yard.mp4", "#videos")
    browser.click("#videos a")
    browser.until_text("2 events", "#events-note")
    for selector in ("#upload", "#select", "#again-box", "#delete"):
        assert not browser.find(selector).is_displayed(), selector
    browser.screenshot("signed-in-reader")
    assert browser.script(
        "return fetch('/api/v1/analyses/x', {method: 'DELETE'}).then((reply) => reply.status)"
    ) == 403  # fmt: skip
    browser.click("#sign-out")
    until_shown(browser, "#sign-in")
    browser.console()


def test_refusal_is_shown_as_a_page(browser: Browser, films: tuple[str, Process, Provider]) -> None:
    url, _, provider = films
    browser.open(url)
    provider.faults.claims = {"email": "<i>@elsewhere.example", "hd": None}
    sign_in(browser, until=".note[role=alert]")
    browser.until_text("<i>@elsewhere.example is not among the people", ".note")
    provider.faults.claims = {}
    browser.screenshot("sign-in-refused")
    browser.click("main a[href='/']")
    until_shown(browser, "#sign-in")
    browser.console()

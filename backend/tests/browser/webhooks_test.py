"""The page of webhooks: added, tested, paused, enabled; its deliveries; the secret, shown once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Keys
from tests.support import servers, web
from tests.support.browser import PHONE, Browser
from tests.support.receiver import Receiver, receiving, status


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    variables = {"WEBHOOK_HOSTS": "localhost", "WEBHOOK_PRIVATE_ADDRESSES": "true"}
    with servers.api(tmp_path / "data", log=tmp_path / "log", variables=variables) as (url, _):
        yield url


def press(browser: Browser, name: str) -> None:
    """Press the first button of a webhook, or of one of its deliveries, that has this name."""
    script = """const button = [...document.querySelectorAll("#webhooks button")]
          .find((each) => each.innerText === arguments[0]);
        button?.click();
        return Boolean(button)"""
    # In one step: elements are replaced whenever the view is refreshed.
    browser.until(lambda: browser.script(script, name), f"the button {name!r}")


def shown(browser: Browser, selector: str = "#webhooks") -> str:
    """Return what an element shows, or nothing if there is none."""
    script = "return document.querySelector(arguments[0])?.innerText ?? ''"
    return str(browser.script(script, selector))


def until_shown(browser: Browser, text: str, selector: str = "#webhooks") -> None:
    """Wait until an element shows a text."""
    browser.until(lambda: text in shown(browser, selector), f"the text {text!r}")


def add(browser: Browser, url: str) -> str:
    """Add a webhook; return its secret."""
    browser.click("#webhook-new summary")
    browser.find("#webhook-new [name=url]").send_keys(url + Keys.ENTER)
    browser.until(lambda: shown(browser, "#webhooks .secret code"), "the secret")
    return shown(browser, "#webhooks .secret code")


def test_webhooks_are_managed_and_deliveries_shown(
    browser: Browser, url: str, receiver: Receiver, yard: Path
) -> None:
    browser.open(url)
    browser.until(lambda: browser.all("#webhooks-link"), "the link")
    browser.click("#webhooks-link")
    until_shown(browser, "There are no webhooks yet.")
    secret = add(browser, f"{receiver.url}/<b>hook</b>")
    assert browser.all("#webhooks b") == []
    receiver.responses["/%3Cb%3Ehook%3C/b%3E"] = [status(204), status(500)]
    press(browser, "Send a test")
    until_shown(browser, "delivered", "#webhooks table")
    with yard.open("rb") as file:
        web.post(f"{url}/api/v1/videos", files={"file": (yard.name, file)}, timeout=60)
    servers.eventually(lambda: len(receiver.received) >= 5)
    press(browser, "Deliveries")
    press(browser, "Deliveries")
    until_shown(browser, "motion.found", "#webhooks table")
    browser.until(
        lambda: shown(browser, "#webhooks tbody").count("delivered") == 4, "all delivered"
    )
    check_secrets(browser, receiver, secret)
    fail_and_pause(browser, receiver)
    browser.click("#webhooks-title")
    browser.screenshot("webhooks-light")
    browser.theme("dark")
    browser.resize(PHONE)
    browser.screenshot("webhooks-phone-dark")
    browser.resize((1280, 900))
    browser.click("#webhook-new summary")
    browser.find("#webhook-new [name=url]").send_keys("https://elsewhere.example/" + Keys.ENTER)
    until_shown(browser, "elsewhere.example is not in WEBHOOK_HOSTS.")
    press(browser, "Enable")
    until_shown(browser, "active", "#webhooks .badge")
    press(browser, "Delete")
    browser.click("#confirm .danger")
    until_shown(browser, "There are no webhooks yet.", "#webhooks")
    # The page of the test before may still ask for its service.
    assert [each for each in browser.console() if url in each and "403" not in each] == []


def check_secrets(browser: Browser, receiver: Receiver, secret: str) -> None:
    """Leave the view, which forgets the secret; replace it; send a message again, with both."""
    assert secret in shown(browser, "#webhooks .secret")
    browser.script("location.hash = ''")
    browser.until(lambda: not browser.find("#webhooks").is_displayed(), "the videos")
    browser.script("location.hash = '#webhooks'")
    press(browser, "Deliveries")
    assert secret not in browser.driver.page_source
    press(browser, "New secret")
    browser.until(lambda: shown(browser, "#webhooks .secret code"), "the new secret")
    new = shown(browser, "#webhooks .secret code")
    until_shown(browser, "The previous secret is used, too, until")
    before = len(receiver.received)
    press(browser, "Send again")
    servers.eventually(lambda: len(receiver.received) > before)
    last = receiver.received[-1]
    assert last.id in {each.id for each in receiver.received[:-1]}
    assert new != secret
    assert last.signed_with(secret)
    assert last.signed_with(new)


def fail_and_pause(browser: Browser, receiver: Receiver) -> None:
    """Let one message fail, and then the endpoint be gone."""
    path = receiver.received[0].path
    for code, words in ((503, "Status 503."), (410, "Status 410.")):
        before = len(receiver.received)
        receiver.responses[path] = [status(code)]
        press(browser, "Send a test")
        servers.eventually(lambda: len(receiver.received) > before)  # noqa: B023 - called at once
        until_shown(browser, words, "#webhooks table")
    until_shown(browser, "The endpoint responded with status 410 (gone).", "#webhooks article")
    until_shown(browser, "paused", "#webhooks .badge")


def test_page_has_no_trace_of_webhooks_where_they_are_off(browser: Browser, service: str) -> None:
    browser.open(f"{service}/#webhooks")
    until_shown(browser, "Version", "#service")
    assert "ebhook" not in browser.driver.page_source.replace("#webhooks", "")
    assert not [each for each in browser.requests() if "webhooks" in each.partition("#")[0]]
    assert web.get(f"{service}/api/v1/webhooks").status_code == 404
    assert "ebhook" not in web.get(f"{service}/openapi.json").text

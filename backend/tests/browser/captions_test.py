"""Captions in the page: text, whatever it says, shown as it arrives, and found by the search."""

import threading
from pathlib import Path

from selenium.webdriver.remote.webelement import WebElement
from tests.support import gemini as api
from tests.support import servers
from tests.support.browser import PHONE, Browser
from tests.support.gemini import Reply

HOSTILE = (
    '<img src=x onerror="window.hit = 1"> A <b>car</b> \u202edrives\u202c\n into the yard. '
    + "W" * 120
)
SHOWN = '<img src=x onerror="window.hit = 1"> A <b>car</b> drives into the yard. ' + "W" * 120


def test_captions_are_text_arrive_live_and_are_found(
    browser: Browser, tmp_path: Path, yard: Path
) -> None:
    released = threading.Event()
    replies = iter([api.caption(HOSTILE), api.blocked("SAFETY")])

    def answer() -> Reply:
        reply = next(replies)
        if reply.body.get("promptFeedback"):
            released.wait(60)
        return reply

    def captions() -> list[WebElement]:
        return browser.all("#events .caption")

    with api.gemini() as gemini:
        gemini.answer = answer
        variables = gemini.variables()
        with servers.api(tmp_path / "data", log=tmp_path / "log", variables=variables) as (url, _):
            browser.open(url)
            browser.choose_files(yard)
            browser.until_text("2 events", "#events-note", timeout=60)
            browser.until(lambda: [each.text for each in captions()] == ["", SHOWN], "a caption")
            released.set()  # the page is not loaded again
            browser.until_text("No caption: declined (SAFETY).", "#events")
            assert browser.all("#events .caption *") == []
            assert browser.script("return window.hit === undefined")
            assert captions()[0].value_of_css_property("direction") == "ltr"
            browser.screenshot("captions")
            browser.resize(PHONE)
            assert browser.overflow() == []
            browser.resize((1280, 900))
            search = browser.find("#filters [name=caption]")
            search.send_keys("no such caption")
            browser.until_text("No matching videos", "#empty")
            search.clear()
            search.send_keys("DRIVES into")
            browser.until_text("yard.mp4", "#videos")
            assert browser.console() == []


def test_page_without_captions_has_no_trace_of_them(browser: Browser, service: str) -> None:
    browser.open(service)
    browser.until(lambda: browser.text("#service"), "the page to be loaded")
    assert not browser.find("#filters [name=caption]").is_displayed()
    assert not any("caption=" in url for url in browser.requests())

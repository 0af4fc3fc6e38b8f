"""The web page in a real browser, with the real service and real videos."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import ActionChains, Keys
from tests.support import clips, servers, web
from tests.support.browser import DESKTOP, PHONE, Browser, chromium


def upload(browser: Browser, path: Path) -> None:
    """Upload a file and wait until its video is shown and analysed."""
    browser.choose_files(path)
    browser.until_text(path.name, "#detail h2")
    browser.until_text("Done", "#state", timeout=60)


@pytest.fixture(scope="module")
def stored(tab: Browser, service: str, yard: Path) -> str:
    """Upload the yard clip once; return the URL of the page that shows it."""
    tab.open(service)
    upload(tab, yard)
    return str(tab.driver.current_url)


def test_upload_analysis_and_events_are_shown_live(
    browser: Browser, service: str, clip_dir: Path
) -> None:
    browser.open(service)
    browser.until_text("No videos yet", "#empty")
    browser.script(
        """window.seen = [];
        new MutationObserver(() => {
          const badge = document.querySelector("#state .badge");
          if (badge) window.seen.push(badge.dataset.status);
        }).observe(document.getElementById("state"), {childList: true, subtree: true})"""
    )
    upload(browser, clips.yard(clip_dir / "front yard.mp4", name="first"))
    # Updated live: the page has not been reloaded.
    assert {"queued", "running"} & set(browser.script("return window.seen"))
    browser.until_text("2 events", "#events-note")
    assert browser.text("#events button").startswith("0:0")
    browser.until(
        lambda: all(browser.script("return arguments[0].naturalWidth", image)
                    for image in browser.all("#events img, #videos img")),
        "thumbnails of the events",
    )  # fmt: skip
    assert "2 events" in browser.text("#videos")
    assert browser.console() == []


def test_clicking_an_event_plays_it_with_bounding_boxes(browser: Browser, stored: str) -> None:
    browser.open(stored)
    browser.until_text("2 events", "#events-note")
    second = browser.all("#events button")[1]
    second.click()
    browser.until(lambda: browser.script("return !player.paused && player.currentTime > 7.5"),
                  "the player to play the second event")  # fmt: skip
    assert second.get_attribute("aria-current") == "true"
    # Each frame draws new boxes: one script finds and reads a box.
    y = "return document.querySelector('#overlay rect.moving')?.y.baseVal.value"
    top = browser.until(lambda: browser.script(y), "a box around what moves")
    assert 0.5 < top < 1, "the car is in the lower half"
    browser.script("player.pause()")
    loaded = "return [...document.images].every((each) => each.naturalWidth > 0)"
    browser.until(lambda: browser.script(loaded), "thumbnails of the events")
    browser.screenshot("desktop-light")
    browser.theme("dark")
    browser.screenshot("desktop-dark")


def test_timeline_works_with_mouse_and_keyboard(browser: Browser, stored: str) -> None:
    browser.open(stored)
    timeline = browser.find("#timeline")
    browser.until(timeline.is_displayed, "the timeline")
    browser.until(lambda: browser.script("return player.readyState >= 1"), "the video")
    ActionChains(browser.driver).move_to_element(timeline).click().perform()
    browser.until(lambda: abs(browser.script("return player.currentTime") - 6) < 0.3, "the middle")
    timeline.send_keys(Keys.ARROW_RIGHT)
    browser.until(
        lambda: abs(browser.script("return player.currentTime") - 7) < 0.3, "one step forward"
    )
    assert str(timeline.get_attribute("aria-valuetext")).startswith("0:0")
    timeline.send_keys(Keys.HOME)
    browser.until(lambda: browser.script("return player.currentTime") == 0, "the beginning")


def test_reanalysis_with_other_settings_keeps_earlier_results(
    browser: Browser, service: str, clip_dir: Path
) -> None:
    browser.open(service)
    upload(browser, clips.yard(clip_dir / "sky.mp4", name="sky"))
    browser.until_text("2 events", "#events-note")
    browser.click("#again-box summary")
    browser.click("#add-area")
    height = browser.find("#again [name=height]")
    height.clear()
    height.send_keys("20")  # only the sky
    browser.click("#again button.main")
    browser.until_text("No motion", "#events-note")
    choice = browser.find("#state select")
    assert len(choice.find_elements("css selector", "option")) == 2
    choice.send_keys(Keys.ARROW_DOWN)
    browser.until_text("2 events", "#events-note")
    # The address names the analysis that is shown. Its long name fits a phone.
    browser.resize(PHONE)
    browser.open(browser.driver.current_url)
    browser.until_text("2 events", "#events-note")
    assert browser.overflow() == []


def test_rejected_uploads_show_the_reason(browser: Browser, service: str, tmp_path: Path) -> None:
    browser.open(service)
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    large = tmp_path / "large.mp4"
    large.write_bytes(b"\0" * (4 * 1024 * 1024))
    browser.choose_files(text, large)
    browser.until(
        lambda: len(browser.all("#uploads li.failed")) == 2, "both uploads to be rejected"
    )
    first, second = (item.text for item in browser.all("#uploads li"))
    assert "notes.mp4" in first
    assert "is not a video" in first
    assert "large.mp4" in second
    assert "3145728 bytes" in second
    browser.screenshot("rejected")
    for button in browser.all("#uploads .plain"):
        button.click()
    assert browser.all("#uploads li") == []


def test_search_filters_the_list(browser: Browser, stored: str) -> None:
    browser.open(stored)
    browser.until_text("yard.mp4", "#videos")
    search = browser.find("#filters [name=name]")
    search.send_keys("no such name")
    browser.until_text("No matching videos", "#empty")
    search.clear()
    search.send_keys("YARD")
    browser.until_text("yard.mp4", "#videos")


def test_page_requests_no_other_host_and_satisfies_its_content_security_policy(
    browser: Browser, service: str, stored: str
) -> None:
    browser.open(stored)
    browser.until_text("2 events", "#events-note")
    browser.all("#events button")[0].click()
    browser.until(lambda: browser.script("return !player.paused"), "the player to play")
    hosts = {urlsplit(url).netloc for url in browser.requests() if not url.startswith("data:")}
    assert hosts == {urlsplit(service).netloc}
    assert browser.console() == []
    reached = browser.driver.execute_async_script(
        """const done = arguments[arguments.length - 1];
        fetch("http://127.0.0.1:9/").then(() => done("reached"), () => done("refused"))"""
    )
    assert reached == "refused"
    assert "Content Security Policy" in " ".join(browser.console())


def test_page_is_accessible_by_keyboard_and_screen_reader(browser: Browser, stored: str) -> None:
    browser.open(stored)
    browser.until_text("2 events", "#events-note")
    nodes = browser.accessible()
    controls = {"button", "link", "searchbox", "combobox", "slider", "spinbutton", "img"}
    assert [node for node in nodes if node[0] in controls and not node[1].strip()] == []
    for wanted in [
        ("heading", "Videos"),
        ("heading", "yard.mp4"),
        ("slider", "Position in the video"),
        ("searchbox", "Search by name"),
    ]:
        assert wanted in nodes
    assert any(role == "button" and name.startswith("Event 1, from") for role, name in nodes)
    # Focus is on the video's title. Tab moves it on, and it is always visible.
    assert browser.script("return document.activeElement.id") == "title"
    reached = []
    for _ in range(12):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        reached.append(browser.script("return document.activeElement.id"))
        if reached[-1] != "player":  # the browser's own controls
            style = "return getComputedStyle(document.activeElement).outlineStyle"
            assert browser.script(style) != "none", reached
    assert "timeline" in reached


def test_phone_layout_shows_either_the_list_or_the_video(
    browser: Browser, service: str, stored: str
) -> None:
    browser.resize(PHONE)
    browser.open(service)
    browser.until_text("yard.mp4", "#videos")
    assert browser.overflow() == []
    browser.screenshot("phone-list")
    browser.click(f"#videos a[href='#{urlsplit(stored).fragment}']")
    browser.until_text("2 events", "#events-note")
    assert not browser.find("#library").is_displayed()
    assert browser.overflow() == []
    browser.screenshot("phone-video")
    browser.click(".back")
    browser.until(lambda: browser.find("#library").is_displayed(), "the list")
    browser.resize(DESKTOP)


def test_deleting_a_video_requires_confirmation(
    browser: Browser, service: str, clip_dir: Path, data_dir: Path
) -> None:
    browser.open(service)
    upload(browser, clips.pattern(clip_dir / "unwanted.mp4"))
    before = sum(1 for path in data_dir.rglob("*") if path.is_file())
    browser.click("#delete")
    browser.click("#confirm button[value=no]")
    assert "unwanted.mp4" in browser.text("#videos")
    browser.click("#delete")
    browser.until_text("Delete unwanted.mp4", "#confirm")
    browser.click("#confirm button[value=yes]")
    browser.until(lambda: "unwanted.mp4" not in browser.text("#videos"), "the video to be gone")
    assert not browser.find("#detail").is_displayed()
    assert sum(1 for path in data_dir.rglob("*") if path.is_file()) < before


def test_page_says_when_a_video_is_removed_and_keeps_it(
    browser: Browser, stored: str, yard: Path, tmp_path: Path
) -> None:
    browser.open(stored)
    browser.until_text("yard.mp4", "#detail h2")
    assert not browser.all("#retention")
    assert not [url for url in browser.requests() if "retention" in url]
    variables = {"RETENTION_AGE": "P30D"}
    with servers.api(tmp_path / "data", log=tmp_path / "log", variables=variables) as (url, _):
        files = {"file": ("front-door.mp4", yard.read_bytes())}
        reply = web.post(f"{url}/api/v1/videos?analyse=false", files=files, timeout=60)
        page = f"{url}/#video={reply.json()['id']}"
        browser.open(page)
        browser.until_text("Will be removed on", "#retention")
        browser.screenshot("retention")
        browser.click("#pin")
        browser.until_text("Kept until somebody deletes it", "#retention")
        browser.driver.refresh()
        browser.until_text("Do not keep", "#pin")
        browser.find("#pin").send_keys(Keys.ENTER)
        browser.until_text("Will be removed on", "#retention")
        assert browser.driver.switch_to.active_element.get_attribute("id") == "pin"
        assert browser.console() == []


def test_outage_is_shown_and_recovery_is_detected(browser: Browser, tmp_path: Path) -> None:
    port = servers.free_port()
    data = tmp_path / "data"
    with servers.api(data, log=tmp_path / "log", port=port) as (url, _process):
        browser.open(url)
        browser.until_text("No videos yet", "#empty")
    browser.find("#filters [name=name]").send_keys("x")
    browser.until_text("is not responding", "#banner")
    with servers.api(data, log=tmp_path / "log", port=port):
        browser.until(lambda: not browser.find("#banner").is_displayed(), "the banner to disappear")
        browser.until_text("No matching videos", "#empty")


def test_page_asks_for_an_api_key_when_one_is_required(
    service: str, yard: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    variables = {"REQUIRE_API_KEY": "true"}
    with servers.api(data, log=tmp_path / "log", variables=variables) as (url, _process):
        key = subprocess.run(
            [sys.executable, "-m", "app.cli.keys", "create", "page"],
            env=servers.service_environment(data), cwd=servers.BACKEND,
            check=True, capture_output=True, text=True,
        ).stdout.split()[-1]  # fmt: skip
        with chromium(tmp_path) as browser:
            browser.open(url)
            browser.until(lambda: browser.find("#key-dialog").is_displayed(), "the key dialog")
            browser.find("#key").send_keys("wrong" + Keys.ENTER)
            browser.until_text("invalid or has been revoked", "#key-dialog")
            browser.find("#key").send_keys(key + Keys.ENTER)
            browser.until_text("No videos yet", "#empty")
            upload(browser, yard)
            browser.until_text("2 events", "#events-note")
            images = "return [...document.images].every((each) => each.naturalWidth > 0)"
            browser.until(
                lambda: browser.script(images), "images, which are requested without headers"
            )
            assert key not in browser.driver.page_source
            check_log_out(browser, key)


def check_log_out(browser: Browser, key: str) -> None:
    """Sign out, and use copies of the cookies: also of one set behind a proxy that ends TLS."""
    # Browsers trust localhost as they trust TLS, and accept the prefix there.
    browser.open(browser.script("return location.origin").replace("127.0.0.1", "localhost"))
    script = """const [method, path, headers] = arguments;
        return fetch(`/api/v1/${path}`, {method, headers}).then((reply) => reply.status)"""
    for name, header in (("session", {}), ("__Host-session", {"X-Forwarded-Proto": "https"})):
        headers = {"X-API-Key": key, **header}
        assert browser.script(script, "POST", "session", headers) == 204
        urls = {"urls": [f"{browser.driver.current_url}api/v1/videos"]}
        (cookie,) = browser.driver.execute_cdp_cmd("Network.getCookies", urls)["cookies"]
        assert (cookie["name"], cookie["httpOnly"]) == (name, True)
        assert browser.script("return document.cookie") == ""
        assert browser.script(script, "GET", "videos", {}) == 200
        assert browser.script(script, "DELETE", "session", header) == 204
        assert browser.script(script, "GET", "videos", {}) == 401
        kept = {"name": name, "value": cookie["value"], "path": "/", "secure": bool(header)}
        kept["url"] = browser.driver.current_url
        assert browser.driver.execute_cdp_cmd("Network.setCookie", kept)["success"]
        assert browser.script(script, "GET", "videos", {}) == 401
        browser.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})

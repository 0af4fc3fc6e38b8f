"""How long after the list of videos its pictures are there, in the page, in a real browser.

    tools/bazelw test //backend/tests/benchmarks:page_benchmark --test_output=all

It never fails because of slowness.
"""

import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import clips, servers
from tests.support.audit import wait_until_finished
from tests.support.browser import DESKTOP, Browser, chromium
from tests.support.swarm import print_lines

VIDEOS = 24
SHOWN_AT_ONCE = 20
RUNS = 7

# Milliseconds from the answer with the list to the last byte of each picture.
LATE = """
const entries = performance.getEntriesByType("resource");
const list = entries.find((each) => /\\/videos(\\?|$)/.test(each.name));
return entries.filter((each) => each.name.includes("/thumbnail?width=160"))
  .map((each) => each.responseEnd - list.responseEnd);
"""
LOADED = """
const images = [...document.querySelectorAll("#videos img")];
const seen = images.filter((each) => each.getBoundingClientRect().top < innerHeight);
return seen.length > 0 && seen.every((each) => each.complete && each.naturalWidth > 0);
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("data")
    with servers.api(data, log=data / "api.log") as (url, _process):
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        browser.resize(DESKTOP)
        yield browser


def test_list_pictures(browser: Browser, service: str, tmp_path: Path) -> None:
    browser.open(service)
    browser.choose_files(
        *(clips.yard(tmp_path / f"{number}.mp4", name=f"{number}") for number in range(VIDEOS))
    )
    browser.until(lambda: len(browser.all("#videos img")) == SHOWN_AT_ONCE, "the list", timeout=60)
    wait_until_finished(service)
    worst = []
    for _ in range(RUNS):
        browser.open("about:blank")
        browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        browser.open(service)
        browser.until(lambda: browser.script(LOADED), "the pictures of the list")
        late = [float(each) for each in browser.script(LATE)]
        assert late
        worst.append(max(late))
    print_lines(
        f"{VIDEOS} videos, {len(late)} pictures loaded, {RUNS} runs: the last picture "
        f"{statistics.median(worst):.0f} ms after the list (median), {max(worst):.0f} ms at most"
    )

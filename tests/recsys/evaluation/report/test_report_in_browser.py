"""Test the report in a real browser: no console messages, no requests, no overflow on a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Tab, browser_tab

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PHONE, DESKTOP = 390, 1280

# Elements that reach beyond the screen, except those in a scrollable part of the page.
OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter(element => !element.closest(".scroll, details:not([open])"))
  .filter(element => element.getBoundingClientRect().right > screen.width + 0.5)
  .map(element => element.outerHTML.slice(0, 80))
"""
# Overlapping texts of plots.
OVERLAPPING = """
[...document.querySelectorAll("svg")].flatMap(svg => {
  const boxes = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
  const meet = (a, b) =>
    a.left + 1 < b.right && b.left + 1 < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom;
  return boxes.flatMap(([one, a], index) =>
    boxes.slice(index + 1).filter(([_, b]) => meet(a, b)).map(([other]) => `${one} / ${other}`));
})
"""
COLLAPSED_PLOTS = """
[...document.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().height < 40).length
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, full_page: str) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(full_page, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser_tab(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def test_the_page_makes_no_requests_and_logs_no_errors(tab: Tab, report: Path):
    tab.open(report.as_uri(), DESKTOP, 900)
    requests = [request["request"]["url"] for request in tab.of("Network.requestWillBeSent")]
    assert requests == [report.as_uri()]
    assert tab.of("Log.entryAdded") == []
    assert tab.of("Runtime.exceptionThrown") == []
    assert tab.of("Runtime.consoleAPICalled") == []
    assert tab.evaluate("document.querySelectorAll('svg').length") == 15
    assert tab.evaluate(COLLAPSED_PLOTS) == 0


@pytest.mark.parametrize("width", [PHONE, 768, DESKTOP])
def test_nothing_overflows_the_screen(tab: Tab, report: Path, width: int):
    tab.open(report.as_uri(), width, 900)
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate(OVERFLOWING) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_labels_of_plots_do_not_overlap(tab: Tab, report: Path, width: int):
    tab.open(report.as_uri(), width, 900)
    assert tab.evaluate(OVERLAPPING) == []


def test_the_checks_detect_a_broken_page(tab: Tab, tmp_path: Path):
    page = tmp_path / "wrong.html"
    page.write_text(
        "<meta name=viewport content='width=device-width'><body><div style='width:900px'>wide</div>"
        "<img src='missing.png'><script>console.error('bad'); undefined_function()</script>"
    )
    tab.open(page.as_uri(), PHONE, 900)
    assert [request["request"]["url"] for request in tab.of("Network.requestWillBeSent")][1:] == [
        (tmp_path / "missing.png").as_uri()
    ]
    assert len(tab.of("Runtime.consoleAPICalled")) == 1
    assert len(tab.of("Runtime.exceptionThrown")) == 1
    assert len(tab.evaluate(OVERFLOWING)) == 1

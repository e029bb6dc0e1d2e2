"""The report in a real browser: it logs nothing, asks for nothing, and fits a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.evaluation.report.report import write_report
from tests.browser import CHROMIUM, Tab, browser_tab
from tests.reports import make_full_report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PHONE, DESKTOP = 390, 1280

# Elements that reach beyond the screen, but for what lies in a part of the page that scrolls by itself.
OVERFLOWING = """
[...document.querySelectorAll("body *")]
  .filter(element => !element.closest(".scroll, details:not([open])"))
  .filter(element => element.getBoundingClientRect().right > screen.width + 0.5)
  .map(element => element.outerHTML.slice(0, 80))
"""
# Texts of plots that lie on each other.
OVERLAPPING = """
[...document.querySelectorAll("svg")].flatMap(svg => {
  const boxes = [...svg.querySelectorAll("text")].map(text => [text.textContent, text.getBoundingClientRect()]);
  const meet = (a, b) =>
    a.left + 1 < b.right && b.left + 1 < a.right && a.top + 3 < b.bottom && b.top + 3 < a.bottom;
  return boxes.flatMap(([one, a], index) =>
    boxes.slice(index + 1).filter(([_, b]) => meet(a, b)).map(([other]) => `${one} / ${other}`));
})
"""
UNSEEN = """
[...document.querySelectorAll("svg")].filter(svg => svg.getBoundingClientRect().height < 40).length
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, make_full_report())
    return path


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser_tab(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def test_the_page_is_alone_and_without_errors(tab: Tab, report: Path):
    tab.open(report.as_uri(), DESKTOP, 900)
    requests = [request["request"]["url"] for request in tab.of("Network.requestWillBeSent")]
    assert requests == [report.as_uri()]
    assert tab.of("Log.entryAdded") == []
    assert tab.of("Runtime.exceptionThrown") == []
    assert tab.of("Runtime.consoleAPICalled") == []
    assert tab.evaluate("document.querySelectorAll('svg').length") == 11
    assert tab.evaluate(UNSEEN) == 0


@pytest.mark.parametrize("width", [PHONE, 768, DESKTOP])
def test_nothing_overflows_the_screen(tab: Tab, report: Path, width: int):
    tab.open(report.as_uri(), width, 900)
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate(OVERFLOWING) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_words_of_plots_do_not_lie_on_each_other(tab: Tab, report: Path, width: int):
    tab.open(report.as_uri(), width, 900)
    assert tab.evaluate(OVERLAPPING) == []


def test_the_browser_tells_what_goes_wrong(tab: Tab, tmp_path: Path):
    """The checks above can fail."""
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

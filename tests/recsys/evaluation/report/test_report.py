import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from recsys.evaluation.comparison.measurement import SegmentMeasurement
from recsys.evaluation.report import formatting
from recsys.evaluation.report.report import render_report, write_report
from tests.reports import HOSTILE, make_report, measurement

VOID = {"meta", "link", "br", "img", "input", "hr", "source", "path", "use", "rect"}


class Page(HTMLParser):
    """The tags, attributes and text of a page; raises `AssertionError` for an unmatched end tag."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str):
        if tag in VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all_of(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


@pytest.fixture(scope="module")
def page(full_page: str) -> Page:
    return Page(full_page)


def test_the_page_is_well_formed(full_page: str, page: Page):
    assert full_page.startswith("<!DOCTYPE html>")
    assert page.open == []
    assert (page.tags["h1"], page.tags["main"], page.tags["title"]) == (1, 1, 1)
    ids = page.all_of("id")
    assert len(ids) == len(set(ids))
    assert set(page.all_of("aria-labelledby")) <= set(ids)
    targets = [value.removeprefix("#") for value in page.all_of("href") + page.all_of("xlink:href")]
    assert set(targets) <= set(ids)


def test_the_page_is_small_and_loads_nothing(full_page: str):
    assert len(full_page.encode()) < 1_000_000
    assert not re.findall(r"""(?:https?:)?//[^\s"']+""", full_page)
    assert not re.findall(r"@import|<link|<script|\ssrc=", full_page)
    assert set(re.findall(r"url\((.)", full_page)) <= {"#"}


def test_plots_and_tables_have_accessible_names(page: Page):
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("div", "aria-label") and value]
    assert page.tags["svg"] == 15
    assert page.all_of("role").count("img") == 15
    assert len(labels) >= 11
    assert page.tags["caption"] == page.tags["table"]
    headers = sum(tag == "th" for tag, name, _ in page.attributes if name == "scope")
    assert headers == page.tags["th"] > 0


def test_a_hostile_title_is_text(full_page: str, page: Page):
    assert "<script" not in full_page
    assert HOSTILE in page.text


def test_every_plot_takes_its_colors_from_the_page(full_page: str):
    plots = re.findall(r"<svg.*?</svg>", full_page, flags=re.DOTALL)
    assert all("var(--" in plot and "DejaVu" not in plot for plot in plots)
    assert not re.findall(r"#[0-9a-f]{6}\b", "".join(plots))


@pytest.mark.parametrize(
    "sentence",
    [
        "als is published: its NDCG@20 on the validation window is 0.0800 (95% confidence interval 0.0760 to "
        "0.0840), 0.0160 (25%) above bpr, the next best model. The model was chosen on this window; the test "
        "window shows how good it is.",
        "On the test window, which was not used for model selection, als reaches 0.0790 (0.0750 to 0.0830); "
        "bpr is better there by 0.0015 (1.9%). The difference is statistically significant and large enough to "
        "matter (95% confidence interval of the difference −0.0015 to −0.0015).",
        "Hit rate AUC all items",
        "50 of 1,000 users of the test window (5.0%) are new, without history. "
        "They are measured separately, on the popular list that they get (NDCG@20 0.0790).",
        "1,150 of 1,092,339 rows (0.11%) were quarantined: 900 broke “price is an amount” and 300 broke “late”.",
        "The data contains 1,469,307 events of 2,469 users on 92,339 items from 1 January 2017 to 30 December "
        "2017. The median user has 512 events, and 12% of the items account for 80% of the events.",
        "The lists of als cover 23% of the catalogue. The 25% most recommended items take half of all",
        "The 2 steps took 2 min 29 s and at most 1.3 GB of memory.",
        "Items that a user has are excluded from the lists",
        "5 November 2017 to 2 December 2017",
        "3 December 2017 to 30 December 2017",
        "als and the other models, NDCG@20 on the test window",
        "als popularity 0.0290 0.0290 to 0.0290 under 0.0001 under 0.0001 yes",
        "Over 3 windows, als has a mean NDCG@20 of 0.0810 (from 0.0790 to 0.0830)",
        "als published 0.0810 0.0020 0.0790 0.0830 2 bpr 0.0738",
        "Weights of the blend",
        "als 0.25 0.75 −0.0123 bpr 0.75 0.25 0.0001 popularity 0.00 none not measured",
        "als published 0.0790 0.0590 to 0.0990",
        "Light 60 users: few 15% head 60% 5.0% head 20% 5.0% head 20% +200%",
        "the first rule that the row broke. 3 March 2017 has the most quarantined rows: 400",
        "orders discount absent Float64 5 November 2017",
        "train als 2 min 11 s 1.3 GB 7,634",
        "There are 1,200 items without a category. 900 of them have events, which the classifier needs. A category "
        "is proposed for 640 of them: the deepest level of the category tree whose confidence is at least 50%.",
        "1 21 61% 0.104 43% 55% 0.012 0.034",
        "50% 72% 68% 1.1 95% 0% no proposals no proposals",
        "Brie i8 GROCERY › CHEESE › BRIE DELI 61%",
        "User u1 light Recent items",
        "Recommended by als",
    ],
)
def test_the_page_says(page: Page, sentence: str):
    assert sentence in page.text


def test_sentences_of_a_run_with_one_model():
    report = make_report()
    alone = (replace(measurement("als", 0.08), cold_users=0),)
    plain = replace(
        report, validation=alone, test=alone, sources=report.sources[1:], examples=(), steps=(), repeat="allow"
    )
    text = Page(render_report(plain)).text
    assert "als is the only model: its NDCG@20 on the validation window is 0.0800" in text
    assert "All 950 users of the test window have a history." in text
    assert "All 92,339 rows passed validation." in text
    assert "may be recommended and count as relevant" in text
    assert "Examples" not in text


def test_a_segment_that_was_not_measured_is_called_so():
    report = make_report()
    test = tuple(
        replace(model, segments=model.segments | {"new": SegmentMeasurement(50, {})}) for model in report.test
    )
    text = Page(render_report(replace(report, test=test))).text
    assert text.count("not measured") == 3
    assert "They are measured separately." in text


def test_the_report_is_written_whole_and_always_alike(tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    write_report(path, make_report())
    first = path.read_bytes()
    write_report(path, make_report())
    assert path.read_bytes() == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("formatted", "expected"),
    [
        (formatting.format_integer(1469307), "1,469,307"),
        (
            formatting.rule_label("price_is_readable: set time_format = 'x'"),
            "price is readable: set time_format = 'x'",
        ),
        (formatting.format_metric(-0.00004), "0.0000"),
        (formatting.format_metric(-0.0123), "−0.0123"),
        (formatting.format_percent(0), "0%"),
        (formatting.format_percent(0.00004), "under 0.01%"),
        (formatting.format_percent(0.00082), "0.08%"),
        (formatting.format_percent(0.081), "8.1%"),
        (formatting.format_percent(0.5176), "52%"),
        (formatting.format_duration(0.04), "0.0 s"),
        (formatting.format_duration(9.96), "10 s"),
        (formatting.format_duration(185), "3 min 05 s"),
        (formatting.format_duration(3720), "1 h 02 min"),
        (formatting.format_memory(612_000_000), "612 MB"),
        (formatting.format_memory(960_000_000), "1.0 GB"),
        (formatting.metric_label("hit_rate@20"), "Hit rate@20"),
        (formatting.shorten("a" * 200), "a" * 89 + "…"),
    ],
)
def test_formatting(formatted: str, expected: str):
    assert formatted == expected

"""Titles and descriptions in HTML become plain text."""

from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.markup import plain_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>Green <b>t</b>ea</p><p>100&nbsp;g</p>", "Green tea 100 g"),
        ("Salt &amp; Pepper", "Salt & Pepper"),
        ("&lt;p&gt;Mug&lt;br&gt;blue&lt;/p&gt;", "Mug blue"),
        ("Tea<!-- sold out --> <script>track('<p>')</script><style>p {}</style>", "Tea"),
        ('<a href="x?a=1>2" title="it\'s">Mug</a>', "Mug"),
        ("<div>", ""),
        ("cable < 3 m, > 1 m  (A&B)", "cable < 3 m, > 1 m  (A&B)"),
        ("price <b", "price <b"),
        ("&#8364; 5", "€ 5"),
    ],
)
def test_text_is_what_a_reader_sees(text: str, expected: str) -> None:
    assert plain_text(text) == expected


@given(st.lists(st.tuples(st.text("abcäß<&1", min_size=1), st.sampled_from(["p", "li", "td", "h1"])), min_size=1))
def test_words_in_any_elements_stay(words: list[tuple[str, str]]) -> None:
    document = "".join(f"<{tag}>{escape(word)}</{tag}>" for word, tag in words)
    assert plain_text(document).split() == [plain_text(escape(word)) for word, _ in words]

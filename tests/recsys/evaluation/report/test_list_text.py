"""Sentences about lists to buy again, of new items, and of users without history."""

from dataclasses import replace

from recsys.evaluation.report.list_contents import ListPart, NewUsers
from recsys.evaluation.report.list_text import new_users_sentence, part_sentence
from recsys.evaluation.report.report import render_report
from tests.reports import make_full_report

NDCG = "ndcg@20"
PART = ListPart("new", ("als", "ease"), 640, 0.0123, {})
NEW_USERS = NewUsers(
    "last_28_days",
    250,
    90,
    {"all_time": {NDCG: 0.064}, "last_28_days": {NDCG: 0.098}, "trending": {NDCG: 0.01}},
    {},
)


def test_a_part_is_told_with_its_models_and_gain():
    assert part_sentence(PART, NDCG) == (
        "New for the user: by als and ease; on the 640 users of the validation window with a hit of this kind, the "
        "NDCG@20 of the best models of its own is 0.0123 above that of the published order."
    )
    kept = part_sentence(replace(PART, name="again", models=(), gain=-0.002), NDCG)
    assert kept.startswith("Buy again: in the order of the published lists; on the 640 users")
    assert "0.0020 below" in kept
    assert part_sentence(replace(PART, users=99, models=()), NDCG) == (
        "New for the user: in the order of the published lists, as only 99 users of the validation window can tell."
    )


def test_the_list_of_new_users_is_told_with_why_it_was_chosen():
    assert new_users_sentence(NEW_USERS, NDCG) == (
        "Users without history get the items that are popular by the last 28 days, by 250 new users of the "
        "validation window (NDCG@20 0.0980)."
    )
    kept = new_users_sentence(replace(NEW_USERS, chosen="all_time"), NDCG)
    assert kept.endswith("(NDCG@20 0.0640); the last 28 days is not better by the required gain.")
    assert "too few for a choice" in new_users_sentence(replace(NEW_USERS, users=1, chosen="all_time"), NDCG)


def test_the_report_shows_the_lists():
    page = render_report(make_full_report())
    section = page[page.index('id="lists"') : page.index('id="users"')]
    assert "Buy again on the test window" in section
    assert "in the order of the published lists" in section
    assert section.count("published</span>") == 1
    assert "0.0610" in section

"""Answers of a shop with variants: one item of each group, in place of one that is switched off another one."""

from dataclasses import replace

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys.settings import Settings
from recsys.store.catalogue import CATALOGUE_SCHEMA
from serving.engine.catalogue import Catalogue
from serving.engine.item_groups import NO_GROUP
from serving.engine.ranking import CandidateList, fuse
from serving.engine.variants import VariantChoice
from serving.requests import ItemFilter
from tests.serving.conftest import Publish, Shop, Talk, ids

# Shirts of one product in all lists; a1 is the user's first item, ap1 the most popular one, an1 similar to a1.
VARIANTS = ("a1", "ap1", "an1", "ap2")
SHOP = Shop(
    facts=(
        *({"item_id": item_id, "group_id": "shirt"} for item_id in VARIANTS),
        {"item_id": "ap3", "group_id": "cap", "price": 20.0},
        {"item_id": "a3", "group_id": "cap", "price": 5.0},
        {"item_id": "a4", "group_id": "alone"},
    )
)
LISTS = ("/v1/recommendations/7?n=100", "/v1/popular?n=100", "/v1/trending?n=100", "/v1/similar/at1?n=100")


ITEM_IDS = [f"i{number}" for number in range(8)]


@given(
    st.lists(st.tuples(st.sampled_from(["g", "h", None]), st.booleans(), st.floats(0, 10)), min_size=8, max_size=8),
    st.lists(st.lists(st.sampled_from([*ITEM_IDS, "gone"]), unique=True), min_size=1, max_size=3),
    st.none() | st.just(5.0),
)
def test_no_order_has_two_variants_of_a_group_or_one_that_cannot_be_sold_while_another_can(
    rows: list[tuple[str | None, bool, float]], lists: list[list[str]], price_max: float | None
) -> None:
    facts = [
        {"item_id": item_id, "group_id": group, "available": available, "price": price}
        for item_id, (group, available, price) in zip(ITEM_IDS, rows, strict=True)
    ]
    catalogue = Catalogue("20180101T000000Z", pl.DataFrame(facts, schema=CATALOGUE_SCHEMA))
    choice = VariantChoice(catalogue, ItemFilter(price_max=price_max), 0)
    given_lists = [CandidateList("personal", "why", items) for items in lists]
    order = [candidate.item_id for candidate in fuse(choice.choose_in_lists(given_lists))]
    sellable = {
        row["item_id"] for row in facts if row["available"] and (price_max is None or row["price"] <= price_max)
    }
    groups = [catalogue.groups.group_or_item(item_id) for item_id in order]
    assert len(groups) == len(set(groups))
    assert set(groups) == {catalogue.groups.group_or_item(item_id) for items in lists for item_id in items}
    for item_id, group in zip(order, groups, strict=True):
        if catalogue.groups.group(item_id) != NO_GROUP:
            assert item_id in sellable or not sellable & set(catalogue.groups.variants(int(group)))


def shirts(answer: list[str]) -> list[str]:
    return [item_id for item_id in answer if item_id in VARIANTS]


def test_an_answer_shows_one_variant_of_each_group(publish_shop: Publish, talk: Talk) -> None:
    publish_shop(SHOP)
    viewed = {"user_id": "7", "event": "view", "item_id": "a1"}
    answers = talk(*LISTS, ("POST", "/v1/events", viewed), LISTS[0])
    personal, popular, trending, similar, _, after = answers
    for answer in (personal, popular, trending, similar, after):
        assert len(shirts(ids(answer))) == 1
        assert len({"ap3", "a3"} & set(ids(answer))) == 1
        assert len(ids(answer)) == len(set(ids(answer)))
    assert shirts(ids(personal)) == ["a1"]
    assert shirts(ids(popular)) == ["ap1"]
    assert ids(personal)[:3] == ["a1", "a2", "a3"]


def test_another_variant_is_shown_in_the_place_of_one_that_is_switched_off(
    publish_shop: Publish, talk: Talk
) -> None:
    publish_shop(SHOP)
    off = {"available": False}
    first, _, second, *_, third, popular, _, again = talk(
        LISTS[0],
        ("PUT", "/v1/items/a1", off),
        LISTS[0],
        ("PUT", "/v1/items/ap1", off),
        ("PUT", "/v1/items/ap2", off),
        LISTS[0],
        LISTS[1],
        ("PUT", "/v1/items/an1", off),
        LISTS[0],
    )
    assert [ids(answer)[0] for answer in (first, second, third, again)] == ["a1", "ap1", "an1", "a2"]
    assert shirts(ids(popular)) == ["an1"]
    assert shirts(ids(again)) == []
    assert ids(first)[1:29] == ids(second)[1:29]


def test_a_variant_passes_the_filter_of_the_request(publish_shop: Publish, talk: Talk) -> None:
    publish_shop(SHOP)
    cheap, dear = talk("/v1/popular?price_max=10", "/v1/recommendations/7?price_min=10")
    assert (ids(cheap), ids(dear)) == (["a3"], ["ap3"])


def test_what_is_excluded_or_bought_hides_all_variants(
    publish_shop: Publish, talk: Talk, settings: Settings
) -> None:
    publish_shop(replace(SHOP, history={"8": ["ap2"]}, users=("7", "8")))
    bought = {"user_id": "7", "event": "purchase", "item_id": "an1"}
    sources = replace(settings.sources, exclude_events=("purchase",))
    excluded, similar, before, _, after, by_group = talk(
        "/v1/recommendations/7?n=100&exclude=ap1",
        "/v1/similar/a1?n=100",
        "/v1/recommendations/8?n=100",
        ("POST", "/v1/events", bought),
        LISTS[0],
        "/v1/recommendations/7?n=100&exclude=shirt",
        repeat="exclude",
        sources=sources,
    )
    for answer in (excluded, similar, before, after, by_group):
        assert shirts(ids(answer)) == []
        assert {"ap3", "a3"} & set(ids(answer))


def test_items_are_ranked_with_one_of_each_group_among_those_given(publish_shop: Publish, talk: Talk) -> None:
    publish_shop(SHOP)
    (ranked,) = talk(("POST", "/v1/rank", {"user_id": "7", "item_ids": ["ap9", "an1", "a2", "ap2"]}))
    assert ids(ranked) == ["ap2", "a2", "ap9"]


def test_a_group_that_is_given_online_counts_at_once(publish_shop: Publish, talk: Talk) -> None:
    publish_shop()
    before, _, _, after, wrong = talk(
        LISTS[0],
        ("PUT", "/v1/items/a2", {"group_id": "shirt"}),
        ("PUT", "/v1/items/a1", {"group_id": "shirt"}),
        LISTS[0],
        ("PUT", "/v1/items/a1", {"group_id": "a b"}),
    )
    assert ids(before)[:3] == ["a1", "a2", "a3"]
    assert ids(after)[:2] == ["a1", "a3"]
    assert wrong.status_code == 400
    assert wrong.json()["field"] == "group_id"


def test_what_is_said_of_a_variant_by_day_is_said_of_the_product(
    publish_shop: Publish, talk: Talk, settings: Settings
) -> None:
    publish_shop(SHOP)

    def say(name: str, item_id: str, user_id: str = "7") -> tuple[str, str, dict[str, str]]:
        return ("POST", "/v1/events", {"user_id": user_id, "event": name, "item_id": item_id})

    cart = "/v1/recommendations/9?n=100&context=cart"
    answers = talk(
        *(say("purchase", "shirt"), LISTS[0], say("refund", "an1"), LISTS[0]),
        *(say("purchase", "a1"), LISTS[0], say("refund", "ap1"), LISTS[0]),
        *(say("dislike", "an1"), LISTS[0], say("purchase", "a1"), say("refund", "shirt"), LISTS[0]),
        *(say("cart", "an1"), LISTS[0]),
        *(say("cart", "a1", "9"), cart, say("purchase", "ap1", "9"), say("refund", "an1", "9"), cart),
        sources=replace(settings.sources, negative_events=("dislike",)),
    )
    shown = [bool(shirts(ids(answer))) for answer in answers if "items" in answer.json()]
    assert shown == [False, True, False, True, False, False, True, False, True]

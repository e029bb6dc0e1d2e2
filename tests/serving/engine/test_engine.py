"""Answers of the engine: filters, limits of brands and categories, diversity."""

from dataclasses import replace
from urllib.parse import quote

from recsys.settings import Settings
from tests.serving.conftest import Publish, Shop, Talk, ids

USER = "/v1/recommendations/7"


def test_excluded_items_and_filters_leave_the_answer_full(talk: Talk, publish_shop: Publish) -> None:
    facts = tuple(
        {"item_id": f"ap{rank}", "category": "DAIRY>CHEESE" if rank % 2 else "DAIRY>MILK", "price": float(rank)}
        for rank in range(1, 31)
    )
    publish_shop(Shop(facts=(*facts, {"item_id": "a5", "category": "DAIRY>CHEESE", "price": 1.0})))
    dairy, cheese, cheap, excluded, none = talk(
        f"{USER}?category=DAIRY&n=31",
        f"{USER}?category={quote('DAIRY>CHEESE')}&n=31",
        f"{USER}?category=DAIRY&price_min=2&price_max=4&n=31",
        f"{USER}?exclude=a1,a2&exclude=a3&n=60",
        f"{USER}?category=DAIRY%3ECHE&n=31",
    )
    assert ids(dairy) == ["a5", *(f"ap{rank}" for rank in range(1, 31))]
    assert ids(cheese) == ["a5", *(f"ap{rank}" for rank in range(1, 31, 2))]
    assert ids(cheap) == ["ap2", "ap3", "ap4"]
    assert not {"a1", "a2", "a3"} & set(ids(excluded))
    assert ids(none) == []


def test_a_short_list_is_filled_from_the_favourite_categories(talk: Talk, publish_shop: Publish) -> None:
    facts = tuple({"item_id": f"ap{rank}", "category": "TEA"} for rank in (8, 9))
    publish_shop(Shop(profiles={"7": '{"events":3,"categories":["TEA"]}'}, facts=facts))
    (answer,) = talk(f"{USER}?n=33")
    assert ids(answer)[30:] == ["ap8", "ap9", "ap1"]
    assert answer.json()["items"][30]["reason"] == "popular in TEA, where you often choose"


def test_no_more_of_a_brand_than_the_shop_wants(settings: Settings, talk: Talk, publish_shop: Publish) -> None:
    facts = tuple({"item_id": f"a{rank}", "brand": "X" if rank <= 6 else f"Y{rank}"} for rank in range(1, 31))
    publish_shop(Shop(facts=facts))
    first, second = talk(f"{USER}?n=5", f"{USER}?n=5&offset=5", serving=replace(settings.serving, max_per_brand=2))
    assert ids(first) == ["a1", "a2", "a7", "a8", "a9"]
    assert ids(second) == ["a3", "a4", "a10", "a11", "a12"]


def test_other_brands_come_from_what_is_popular_before_a_brand_s_limit_is_broken(
    settings: Settings, talk: Talk, publish_shop: Publish
) -> None:
    facts = tuple({"item_id": f"a{rank}", "brand": "X"} for rank in range(1, 31))
    publish_shop(Shop(facts=facts))
    limited = replace(settings.serving, max_per_brand=2)
    first, second, whole = talk(f"{USER}?n=5", f"{USER}?n=5&offset=5", f"{USER}?n=1000", serving=limited)
    assert ids(first) == ["a1", "a2", "ap1", "ap2", "ap3"]
    assert ids(second) == ["a3", "a4", "ap4", "ap5", "ap6"]
    assert len(ids(whole)) == 30 + 30 + 5 + 3


def test_pages_of_a_limited_list_go_on_by_cursor(settings: Settings, talk: Talk, publish_shop: Publish) -> None:
    facts = tuple({"item_id": f"a{rank}", "brand": "X" if rank < 20 else f"Y{rank}"} for rank in range(1, 31))
    publish_shop(Shop(facts=facts))
    limited = replace(settings.serving, max_per_brand=1)
    shown: list[str] = []
    cursor = ""
    while True:
        (page,) = talk(f"{USER}?n=7{cursor}", serving=limited)
        shown += ids(page)
        if page.json()["cursor"] is None:
            break
        cursor = f"&cursor={page.json()['cursor']}"
    assert len(shown) == len(set(shown)) == 30 + 30 + 5 + 3


def test_items_alike_are_kept_apart_as_far_as_the_shop_wants(
    settings: Settings, talk: Talk, publish_shop: Publish
) -> None:
    publish_shop(Shop(alike=("a1", "a2", "a3", "a4")))
    (plain,) = talk(f"{USER}?n=6")
    (diverse,) = talk(f"{USER}?n=6", serving=replace(settings.serving, diversity=0.5))
    assert ids(plain) == ["a1", "a2", "a3", "a4", "a5", "a6"]
    # a5 is unlike a1; after both kinds have come nothing tells them apart, and the list's own order holds.
    assert ids(diverse) == ["a1", "a5", "a2", "a3", "a4", "a6"]

"""Answers after many events: what stays hidden, what leads beside a cart, and how much one item may bring in."""

from dataclasses import replace

import redis

from recsys.settings import Settings
from recsys.store.keys import Keys
from tests.serving.conftest import VERSION, Publish, Talk, ids
from tests.serving.http.test_recommendations import USER, event


def test_views_push_out_no_purchase_and_no_cart(
    talk: Talk, publish_shop: Publish, client: redis.Redis, settings: Settings
) -> None:
    publish_shop()
    negative = replace(settings.sources, negative_events=("not_interested",))
    kept = [event("purchase", "a1"), event("cart", "a2"), event("not_interested", "a3")]
    views = [event("view", f"a{rank}")[2] for rank in range(4, 31)] * 4
    *_, home = talk(
        *kept,
        ("POST", "/v1/events", views),
        f"{USER}?n=60",
        sources=negative,
        anomalies=replace(settings.anomalies, online="off"),
    )
    assert "a2" in ids(home)
    assert not {"a1", "a3"} & set(ids(home))
    assert client.zcard(Keys("recsys").session("7")) == len(kept) + 50


def test_the_list_beside_the_cart_and_the_product_leaves_them_out(
    talk: Talk, publish_shop: Publish, settings: Settings
) -> None:
    publish_shop()
    *_, cart, product, _, after = talk(
        event("cart", "a1"),
        event("cart", "a2"),
        ("POST", "/v1/events", [event("view", f"a{rank}")[2] for rank in range(3, 29)] * 2),
        event("view", "a29"),
        f"{USER}?n=60&context=cart",
        f"{USER}?n=60&context=product",
        event("purchase", "a2"),
        f"{USER}?n=60&context=cart",
        anomalies=replace(settings.anomalies, online="off"),
    )
    assert not {"a1", "a2"} & set(ids(cart))
    assert ids(cart)[0] == "aw1"
    assert [item_id for item_id in ids(cart) if item_id.startswith("aw")][:3] == ["aw1", "aw2", "aw3"]
    assert "a29" in ids(cart)
    assert "a29" not in ids(product)
    assert not {"a1", "a2"} & set(ids(after))


def test_one_item_does_not_take_over_the_page(talk: Talk, publish_shop: Publish, client: redis.Redis) -> None:
    publish_shop()
    near = " ".join(f"n{rank}" for rank in range(20))
    client.set(Keys("recsys").bought_together(VERSION, "a1"), near)
    viewed = [event("view", "a1")] * 3
    *_, known, guest, rest = talk(
        *viewed,
        event("view", "a1", user_id="new"),
        f"{USER}?n=20",
        "/v1/recommendations/new?n=20",
        "/v1/recommendations/new?n=60",
    )
    for answer in (known, guest):
        reasons = [item["reason"] for item in answer.json()["items"]]
        shares = [sum("a1, which" in reason for reason in reasons[:length]) / length for length in (10, 20)]
        assert all(0 < share < 0.4 for share in shares)
        assert len(set(ids(answer))) == 20
    assert {item["source"] for item in known.json()["items"]} == {"personal", "session"}
    assert len(set(ids(rest))) == 60
    assert ids(rest)[:20] == ids(guest)


def test_given_items_are_in_the_order_of_the_list(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    given = ["nothing", "ap9", "an2", "a7", "aw1", "a2", "at1", "ap3", "a1"]
    *_, listed, ranked = talk(
        event("view", "a1"),
        event("view", "a2"),
        f"{USER}?n=70",
        ("POST", "/v1/rank", {"user_id": "7", "item_ids": given}),
    )
    assert [item for item in ids(listed) if item in given] == ids(ranked)[:-2]
    assert sorted(ids(ranked)) == sorted(given)
    shown = {item["item_id"]: (item["source"], item["reason"]) for item in listed.json()["items"]}
    for item in ranked.json()["items"]:
        expected = shown.get(item["item_id"], ("given", "unknown item"))
        assert (item["source"], item["reason"]) == expected

"""Lists of items to buy again and of new items, over HTTP."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis

from recsys.settings import Settings
from recsys.store.keys import Keys
from tests.serving.conftest import Publish, Shop, Talk, ids
from tests.serving.http.test_recommendations import USER, change, event

# User 7 has bought a1, a2, a3 and a6, which is in no list, and the popular ap1; the history is cut before a2.
SHOP = Shop(
    again={"7": ["a2", "a1", "a3"]},
    new={"7": ["a9", "a8", "a7"]},
    history={"7": ["a6", "ap1", "a3", "a1"]},
)


@pytest.fixture
def repeating(settings: Settings) -> dict[str, object]:
    """Settings of a shop that recommends items again, and of sessions that hide nothing."""
    return {"repeat": "allow", "serving": replace(settings.serving, hide_seen=False)}


def test_each_list_is_read_and_filled_with_what_belongs_to_it(
    talk: Talk, publish_shop: Publish, repeating: dict[str, object]
) -> None:
    publish_shop(SHOP)
    again, new, blend, unnamed = talk(
        f"{USER}?list=again&n=9", f"{USER}?list=new&n=6", f"{USER}?list=blend&n=40", f"{USER}?n=40", **repeating
    )
    assert ids(again) == ["a2", "a1", "a3", "a6", "ap1"]
    assert again.json()["cursor"] is None
    assert {(item["source"], item["reason"]) for item in again.json()["items"]} == {
        ("personal", "you have bought it before")
    }
    assert ids(new) == ["a9", "a8", "a7", "ap2", "ap3", "ap4"]
    assert new.json()["items"][0]["reason"].startswith("new for you")
    assert ids(blend) == ids(unnamed)
    assert ids(blend)[:2] == ["a1", "a2"]
    assert "ap1" in ids(blend)


def test_users_without_history_get_popular_items_and_nothing_to_buy_again(
    talk: Talk, publish_shop: Publish, repeating: dict[str, object]
) -> None:
    publish_shop(SHOP)
    again, new, guest = talk(
        "/v1/recommendations/nobody?list=again",
        "/v1/recommendations/nobody?list=new&n=2",
        "/v1/recommendations?session_id=s&list=again",
        **repeating,
    )
    assert ids(again) == ids(guest) == []
    assert again.json()["cursor"] is None
    assert ids(new) == ["ap1", "ap2"]


def test_a_purchase_leaves_the_new_items_and_comes_again_when_it_is_due(
    talk: Talk, publish_shop: Publish, repeating: dict[str, object]
) -> None:
    # A version of last month, so that its purchase of last week may be due.
    now = datetime.now(UTC)
    publish_shop(SHOP, f"{now - timedelta(days=30):%Y%m%dT%H%M%SZ}")
    last_week = (now - timedelta(days=7)).isoformat()
    *_, before, new, again = talk(
        event("purchase", "a9", timestamp=last_week),  # due after three days
        event("purchase", "a8"),
        event("purchase", "a2"),
        event("view", "a7"),
        f"{USER}?list=again&n=9",
        f"{USER}?list=new&n=3",
        f"{USER}?list=again&n=2&exclude=a1",
        **repeating,
    )
    assert set(ids(before)) == {"a1", "a3", "a9", "a6", "ap1"}
    assert ids(new)[0] == "a7"
    assert not {"a8", "a9", "ap1"} & set(ids(new))
    assert ids(again) == ["a3", "a9"]


def test_lists_obey_filters_availability_pages_and_neighbors_of_the_session(
    talk: Talk, publish_shop: Publish, repeating: dict[str, object], client: redis.Redis
) -> None:
    version = publish_shop(SHOP)
    client.set(Keys("recsys").bought_together(version, "a9"), "a1 aw1 a8")
    *_, again, new, first = talk(
        change("a2", available=False),
        change("a3", brand="Acme"),
        event("view", "a9"),
        f"{USER}?list=again&n=9&brand=Acme",
        f"{USER}?list=new&n=9",
        f"{USER}?list=again&n=2",
        **repeating,
    )
    assert ids(again) == ["a3"]
    assert "a2" not in ids(first)
    assert "aw1" in ids(new), "what is bought with an item of the session may be new too"
    assert "a1" not in ids(new)
    cursor = first.json()["cursor"]
    (second,) = talk(f"{USER}?list=again&n=9&cursor={cursor}", **repeating)
    assert set(ids(first)) | set(ids(second)) == {"a1", "a3", "a6", "ap1"}
    assert not set(ids(first)) & set(ids(second))


def test_a_shop_that_repeats_nothing_has_only_new_items(talk: Talk, publish_shop: Publish) -> None:
    publish_shop(replace(SHOP, again={}, new={}))
    again, new, blend = talk(f"{USER}?list=again", f"{USER}?list=new&n=40", f"{USER}?n=40", repeat="exclude")
    assert ids(again) == []
    assert ids(new) == ids(blend)
    assert not {"a1", "a6", "ap1"} & set(ids(new))


def test_batches_take_the_list_and_other_names_are_refused(
    talk: Talk, publish_shop: Publish, repeating: dict[str, object]
) -> None:
    publish_shop(SHOP)
    body = {"user_ids": ["7", "nobody"], "n": 2, "list": "again"}
    batch, wrong, metrics = talk(
        ("POST", "/v1/recommendations/batch", body), f"{USER}?list=later", "/metrics", **repeating
    )
    assert [[item["item_id"] for item in answer["items"]] for answer in batch.json()["answers"]] == [
        ["a2", "a1"],
        [],
    ]
    assert (wrong.status_code, wrong.json()["field"]) == (400, "list")
    assert 'recsys_lists_total{list="again"} 2.0' in metrics.text
    assert "later" not in metrics.text

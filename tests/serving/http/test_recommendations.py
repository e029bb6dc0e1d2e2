"""Recommendations over HTTP: through the whole application, over a real Valkey."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import httpx
import pytest
import redis

from recsys.settings import Settings
from recsys.store.keys import Keys
from tests.serving.conftest import VERSION, Publish, Shop, Talk, application, ids
from tests.waiting import until

ODD_IDS = ("a/b", "/", "a//b/", "ü", "50%", "50%25", "a+b", "?n=1", "#", "a&b=c", "a..b", "x" * 128, "7{x}", "日本")
USER = "/v1/recommendations/7"
LATER = "20180102T000000Z"


def event(name: str, item_id: str, **more: object) -> tuple[str, str, dict[str, object]]:
    """Return a request with an event of user 7."""
    return ("POST", "/v1/events", {"user_id": "7", "event": name, "item_id": item_id, **more})


def change(item_id: str, **facts: object) -> tuple[str, str, dict[str, object]]:
    """A request that changes an item."""
    return ("PUT", f"/v1/items/{item_id}", facts)


def test_a_known_user_gets_the_own_list(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    (response,) = talk(f"{USER}?n=2")
    body = response.json()
    assert re.fullmatch("[0-9a-f]{32}", body["request_id"])
    assert response.headers["x-request-id"] == body["request_id"]
    assert (body["user_id"], body["version"], body["degraded"]) == ("7", VERSION, False)
    reason = "picked for you from what you and shoppers like you have chosen"
    assert body["items"] == [
        {"item_id": "a1", "rank": 1, "source": "personal", "reason": reason},
        {"item_id": "a2", "rank": 2, "source": "personal", "reason": reason},
    ]


def test_a_title_in_html_is_shown_as_plain_text(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    _, similar = talk(change("a1", title="<b>Bread</b> &amp; butter"), "/v1/similar/a1?n=1")
    assert similar.json()["items"][0]["reason"] == "similar to Bread & butter"


def test_anyone_else_gets_the_popular_one(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    (response,) = talk("/v1/recommendations/nobody?n=1")
    assert response.json()["items"] == [
        {"item_id": "ap1", "rank": 1, "source": "popular", "reason": "popular in the shop"}
    ]


def test_an_answer_is_full_while_the_shop_has_items(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    (response,) = talk(f"{USER}?n=50")
    assert ids(response) == [*(f"a{rank}" for rank in range(1, 31)), *(f"ap{rank}" for rank in range(1, 21))]
    assert [item["rank"] for item in response.json()["items"]] == list(range(1, 51))


def test_ids_of_any_letters_are_found(talk: Talk, publish_shop: Publish) -> None:
    publish_shop(Shop(users=ODD_IDS))
    responses = talk(*(f"/v1/recommendations/{quote(user_id, safe='')}?n=1" for user_id in ODD_IDS))
    result = [(response.json()["user_id"], response.json()["items"][0]["source"]) for response in responses]
    assert result == [(user_id, "personal") for user_id in ODD_IDS]


@pytest.mark.parametrize("user_id", ["a b", "x" * 5000])
def test_invalid_ids_are_refused(talk: Talk, publish_shop: Publish, user_id: str) -> None:
    publish_shop()
    (response,) = talk(f"/v1/recommendations/{quote(user_id, safe='')}")
    body = response.json()
    assert response.status_code == 400
    assert (body["field"], body["value"]) == ("user_id", user_id[:200])
    assert body["expected"].startswith("1 to 128 characters")


@pytest.mark.parametrize(("name", "value"), [("n", "1001"), ("category", "")])
def test_invalid_values_are_refused(talk: Talk, publish_shop: Publish, name: str, value: str) -> None:
    publish_shop()
    (response,) = talk(f"{USER}?{name}={quote(value)}")
    body = response.json()
    assert response.status_code == 400
    assert body["field"] == name
    assert body["expected"]
    assert body["request_id"] == response.headers["x-request-id"]


def test_pages_repeat_nothing_and_skip_nothing(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    whole, *pages = talk(f"{USER}?n=60", *(f"{USER}?n=20&offset={offset}" for offset in (0, 20, 40)))
    assert [item for page in pages for item in ids(page)] == ids(whole)
    assert [item["rank"] for item in pages[1].json()["items"]] == list(range(21, 41))


def test_a_cursor_goes_on_with_the_list_whatever_happens_meanwhile(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    (first,) = talk(f"{USER}?n=10")
    time.sleep(0.01)
    responses = talk(
        event("view", "a1"),
        event("purchase", "a12"),
        change("a14", available=False),
        f"{USER}?n=10&cursor={first.json()['cursor']}",
        f"{USER}?n=10",
    )
    second, anew = responses[-2:]
    assert ids(first) == [f"a{rank}" for rank in range(1, 11)]
    assert ids(second) == [f"a{rank}" for rank in range(11, 23) if rank not in (12, 14)]
    assert [item["rank"] for item in second.json()["items"]] == list(range(11, 21))
    assert ids(anew) != ids(first)


def test_the_last_page_has_no_cursor(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    (everything,) = talk(f"{USER}?n=1000")
    assert everything.json()["cursor"] is None
    assert len(ids(everything)) == 30 + 30 + 5 + 3


def test_a_session_changes_the_next_answer(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    before, accepted, after = talk(f"{USER}?n=30", event("view", "a1"), f"{USER}?n=30")
    assert (accepted.status_code, accepted.json()["accepted"]) == (202, 1)
    new = [item for item in after.json()["items"] if item["item_id"] not in ids(before)]
    assert {item["item_id"][:2] for item in new} <= {"an", "aw"}
    assert new
    reasons = {item["source"]: item["reason"] for item in new}
    assert reasons.get("session", "similar to a1, which you viewed") == "similar to a1, which you viewed"
    assert reasons["bought_with"] == "often bought with a1, which you viewed"


def test_the_cart_gets_complements(talk: Talk, publish_shop: Publish) -> None:
    publish_shop(Shop(facts=({"item_id": "a1", "title": "Bread"},)))
    *_, answer = talk(event("cart", "a1"), f"{USER}?n=10&context=cart")
    items = answer.json()["items"]
    complements = [
        (item["item_id"], item["source"], item["reason"]) for item in items if item["source"] != "personal"
    ]
    assert items[0]["item_id"] == "aw1"
    assert complements == [
        (f"aw{rank}", "bought_with", "often bought with Bread, which is in your cart") for rank in (1, 2, 3)
    ]


def test_mail_does_not_depend_on_the_session(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    *_, answer = talk(event("view", "a1"), f"{USER}?n=5&context=mail")
    assert ids(answer) == ["a1", "a2", "a3", "a4", "a5"]


def test_what_is_bought_drops_out(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    *_, answer = talk(event("purchase", "a1"), f"{USER}?n=60")
    assert "a1" not in ids(answer)
    assert len(ids(answer)) == 60


def test_what_was_bought_before_the_night_stays_out_of_what_fills(talk: Talk, publish_shop: Publish) -> None:
    publish_shop(Shop(history={"7": ["ap1", "an1"]}))
    *_, answer = talk(event("view", "a1"), f"{USER}?n=60")
    assert not {"ap1", "an1"} & set(ids(answer))


def test_what_is_disliked_is_hidden_at_once_and_what_is_returned_comes_back(
    talk: Talk, publish_shop: Publish, settings: Settings
) -> None:
    publish_shop(Shop(disliked={"7": ["a3"]}))
    sources = replace(settings.sources, negative_events=("not_interested",))
    before, *_, after, _, _, back = talk(
        f"{USER}?n=50",
        event("not_interested", "a1"),
        event("purchase", "a2", quantity=2),
        f"{USER}?n=50",
        event("purchase", "a3"),
        event("refund", "a2", quantity=2),
        f"{USER}?n=50",
        sources=sources,
    )
    assert {"a1", "a2"} <= set(ids(before))
    assert "a3" not in ids(before)
    assert not {"a1", "a2", "a3"} & set(ids(after))
    assert {"a1", "a2", "a3"} & set(ids(back)) == {"a2"}


def test_where_repeats_are_allowed_what_was_bought_comes_back_when_it_is_due(
    talk: Talk, publish_shop: Publish
) -> None:
    publish_shop(Shop(facts=({"item_id": "a1", "repeat_days": 3.0}, {"item_id": "a2", "repeat_days": 30.0})))
    bought = (datetime.now(UTC) - timedelta(days=5)).isoformat()
    requests = [event("purchase", item, timestamp=bought) for item in ("a1", "a2")]
    *_, answer = talk(*requests, event("purchase", "a3"), f"{USER}?n=20&context=mail", repeat="allow")
    assert "a1" in ids(answer)
    assert not {"a2", "a3"} & set(ids(answer))


def test_purchases_in_the_nightly_history_are_not_excluded_again(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    long_ago = "2017-12-31T12:00:00Z"
    *_, answer = talk(event("purchase", "a1", timestamp=long_ago), f"{USER}?n=1&context=mail", repeat="allow")
    assert ids(answer) == ["a1"]


def test_seen_items_are_hidden_where_the_shop_wants_it(
    settings: Settings, talk: Talk, publish_shop: Publish
) -> None:
    publish_shop()
    hiding = replace(settings.serving, hide_seen=True)
    *_, shown = talk(event("view", "a2"), f"{USER}?n=60")
    (hidden,) = talk(f"{USER}?n=60", serving=hiding)
    assert "a2" in ids(shown)
    assert "a2" not in ids(hidden)


def test_a_guest_has_a_session_that_joins_the_user_at_log_in(
    talk: Talk, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop()
    seen = ("POST", "/v1/events", {"session_id": "s1", "event": "view", "item_id": "a1"})
    _, guest, user, _, joined = talk(
        seen,
        "/v1/recommendations?session_id=s1&n=8",
        f"{USER}?n=60&session_id=s1",
        event("view", "ap3", session_id="s1"),
        f"{USER}?n=60",
    )
    assert {"an1", "an2"} <= set(ids(guest))
    assert guest.json()["user_id"] == "guest:s1"
    assert "an1" in ids(user)
    assert "an1" in ids(joined)
    keys = Keys("recsys")
    assert not client.exists(keys.session("guest:s1"))
    assert client.zcard(keys.session("7")) == 2


def test_every_stage_is_shown_to_an_administrator(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    *_, answer = talk(change("a2", available=False), event("purchase", "a3"), f"{USER}?n=3&debug=1")
    stages = {stage["name"]: stage for stage in answer.json()["stages"]}
    assert list(stages) == ["load", "sources", "ranking", "filters"]
    assert stages["load"]["items"] == [f"a{rank}" for rank in range(1, 31)]
    removed = {each["reason"]: each["items"] for each in stages["filters"]["removed"]}
    assert removed == {"unavailable": ["a2"], "bought": ["a3"]}


def test_a_flagged_user_gets_popular_items(talk: Talk, publish_shop: Publish, client: redis.Redis) -> None:
    publish_shop()
    client.set(Keys("recsys").flag("7"), "too many events")
    given = ("POST", "/v1/rank", {"user_id": "7", "item_ids": ["a1", "ap2", "ap1"]})
    answer, ranked = talk(f"{USER}?n=2", given)
    assert ids(answer) == ["ap1", "ap2"]
    assert ids(ranked) == ["ap1", "ap2", "a1"]


def ask_around_a_switch(
    settings: Settings, paths: Sequence[str], publish_later: Callable[[], str]
) -> tuple[list[httpx.Response], list[httpx.Response]]:
    """Return the answers before and after another version is published and adopted."""

    async def ask() -> tuple[list[httpx.Response], list[httpx.Response]]:
        async with application(settings) as http:
            before = [await http.get(path) for path in paths]
            version = await asyncio.to_thread(publish_later)

            async def is_adopted() -> bool:
                return (await http.get("/ready")).json()["version"] == version

            await until(is_adopted)
            return before, [await http.get(path) for path in paths]

    return asyncio.run(ask())


def test_a_publish_is_adopted_and_nothing_is_mixed(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    paths = (f"{USER}?n=60", "/v1/recommendations/nobody")
    before, after = ask_around_a_switch(settings, paths, lambda: publish_shop(Shop("b"), LATER))
    for responses, letter, version in ((before, "a", VERSION), (after, "b", LATER)):
        for response in responses:
            assert response.json()["version"] == version
            assert {item_id[0] for item_id in ids(response)} == {letter}


def test_who_has_no_list_in_the_live_version_gets_the_one_before(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    _, (answer,) = ask_around_a_switch(
        settings, [f"{USER}?n=60"], lambda: publish_shop(Shop("b", users=("8",)), LATER)
    )
    body = answer.json()
    assert body["version"] == VERSION
    assert {item_id[0] for item_id in ids(answer)} == {"a"}
    assert body["items"][0]["source"] == "previous"


def test_a_version_without_a_catalogue_is_served_too(talk: Talk, publish_shop: Publish) -> None:
    publish_shop(Shop(catalogue=False))
    known, unknown, none = talk(f"{USER}?n=31", "/v1/recommendations/nobody?n=2", f"{USER}?brand=X")
    assert ids(known) == [*(f"a{rank}" for rank in range(1, 31)), "ap1"]
    assert ids(unknown) == ["ap1", "ap2"]
    assert ids(none) == []


@pytest.mark.parametrize(
    "path", ["/v1//recommendations/7", "/v1%2Frecommendations/7", "/v1/recommendation%73/7"], ids=repr
)
def test_an_address_written_otherwise_is_answered_alike(talk: Talk, publish_shop: Publish, path: str) -> None:
    publish_shop()
    plain, other, wrong = talk(f"{USER}?n=3", f"{path}?n=3", f"{path}?n=0")
    assert ids(other) == ids(plain)
    assert (wrong.status_code, wrong.json()["field"]) == (400, "n")


def test_events_and_guests_at_an_address_written_otherwise(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    bought = {"user_id": "7", "event": "purchase", "item_id": "a1"}
    slash, double, wrong, shown, guest = talk(
        ("POST", "/v1/events/", bought),
        ("POST", "/v1//events", [{**bought, "item_id": "a2"}]),
        ("POST", "/v1/events/", {**bought, "event": "look"}),
        f"{USER}?n=1",
        "/v1//recommendations?session_id=s1&n=1",
    )
    assert (slash.status_code, double.status_code, wrong.status_code) == (202, 202, 400)
    assert wrong.json()["errors"][0]["field"] == "event"
    assert ids(shown) == ["a3"]
    assert guest.json()["user_id"] == "guest:s1"


def test_before_the_first_publish_it_says_so(talk: Talk) -> None:
    *failed, alive = talk(USER, "/ready", "/v1/popular", "/live")
    for response in failed:
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["error"] == "no version is live: run `recsys nightly` to publish one"
    assert (alive.status_code, alive.json()) == (200, {"status": "live"})

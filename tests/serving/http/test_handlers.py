"""Items, batches, given items and users over HTTP, through the whole application."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from recsys.settings import Lists, Settings
from tests.serving.conftest import Publish, Shop, Talk, application, ids
from tests.serving.http.test_recommendations import USER, change, event
from tests.serving.outages import is_fresh
from tests.waiting import until


def test_an_item_switched_off_is_in_no_answer_and_lists_are_still_full(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    responses = talk(
        *(change(item_id, available=False) for item_id in ("a1", "ap1")),
        f"{USER}?n=40",
        "/v1/popular?n=5",
        change("a1", available=True),
        f"{USER}?n=1",
    )
    off, popular, _, on = responses[2:]
    assert not {"a1", "ap1"} & set(ids(off))
    assert (len(ids(off)), ids(popular)) == (40, ["ap2", "ap3", "ap4", "ap5", "ap6"])
    assert ids(on) == ["a1"]


def test_a_new_worker_knows_what_was_switched_off(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    talk(change("a1", available=False), change("a2", price=5.0))
    again, cheap = talk(f"{USER}?n=1", f"{USER}?n=1&price_max=5")
    assert ids(again) == ["a2"]
    assert ids(cheap) == ["a2"]


def test_a_server_whose_clock_is_behind_switches_items_off(
    settings: Settings, talk: Talk, publish_shop: Publish
) -> None:
    known = datetime(2018, 1, 1, 12, tzinfo=UTC)
    publish_shop(Shop(facts=({"item_id": "a1", "changed_online_at": known},)))
    clock = iter([known.timestamp() - 3_600, known.timestamp() - 86_400])

    async def switch_off() -> list[str]:
        async with application(settings, lambda: next(clock, known.timestamp() - 172_800)) as http:
            on = await http.put("/v1/items/a1", json={"available": True})
            off = await http.put("/v1/items/a1", json={"available": False})
            assert known.isoformat() < on.json()["updated_at"] < off.json()["updated_at"]
            return ids(await http.get(f"{USER}?n=1"))

    assert asyncio.run(switch_off()) == ["a2"]
    (again,) = talk(f"{USER}?n=1")
    assert ids(again) == ["a2"]


def test_changes_of_items_are_bounded(settings: Settings, talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    long = {f"name{number}": ["x" * 500] * 2 for number in range(50)}
    one, known, known_again, new, more, again, listed = talk(
        change("a1", attributes=long),
        change("a1", price=1.0),
        change("a2", available=False),
        change("new1", price=1.0),
        change("new2", price=1.0),
        change("a3", available=False),
        f"{USER}?n=2",
        serving=replace(settings.serving, max_changed_items=3),
    )
    assert (one.status_code, one.json()["field"]) == (400, "body")
    assert [each.status_code for each in (known, known_again, new, more, again)] == [200, 200, 200, 429, 200]
    assert int(more.headers["retry-after"]) > 0
    assert ids(listed) == ["a1", "a4"]


def test_a_fact_of_an_item_is_given_or_left_out(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    for facts in (
        {"price": None},
        {"brand": None},
        {"title": None},
        {"category": None},
        {"category": []},
        {},
        {"title": "<br>"},
    ):
        (response,) = talk(("PUT", "/v1/items/a1", facts))
        assert response.status_code == 400, facts


def test_a_new_item_can_be_found(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    put = change("new1", title="A thing", category=["GARDEN", "TOOLS"], brand="Acme", price=3.5)
    _, within, branded = talk(put, "/v1/popular?category=GARDEN", f"{USER}?brand=Acme")
    assert ids(within) == ids(branded) == ["new1"]


def test_a_new_item_has_several_categories_and_attributes(talk: Talk, publish_shop: Publish) -> None:
    publish_shop(Shop(facts=({"item_id": "ap2", "attributes": ['"color":"red"', '"volume":0.5']},)))
    put = change(
        "new1", categories=[["GARDEN"], ["NEW", "TOOLS"]], attributes={"color": ["red", "blue"], "volume": 2}
    )
    conditions = {"category": ["NEW"], "attribute": ["color:blue"]}
    _, *lists, batch, ranked = talk(
        put,
        "/v1/popular?category=NEW",
        "/v1/popular?category=GARDEN&category=NONE",
        "/v1/popular?attribute=volume:%3E1",
        f"{USER}?attribute=color:blue&attribute=color:green&n=2",
        "/v1/popular?attribute=color:red",
        ("POST", "/v1/recommendations/batch", {"user_ids": ["7"], **conditions}),
        ("POST", "/v1/rank", {"user_id": "7", "item_ids": ["ap2", "new1", "a1"], **conditions}),
    )
    assert [ids(each) for each in lists] == [["new1"]] * 4 + [["ap2", "new1"]]
    assert [item["item_id"] for item in batch.json()["answers"][0]["items"]] == ids(ranked) == ["new1"]
    # The next worker reads the same from Redis; other attributes take the place of those before.
    again, _, none, unknown = talk(
        "/v1/popular?category=NEW&attribute=color:blue",
        change("new1", category=["GARDEN"], attributes={"volume": 0.25}),
        "/v1/popular?category=NEW",
        f"{USER}?attribute=size:M",
    )
    assert (ids(again), ids(none)) == (["new1"], [])
    assert (unknown.status_code, unknown.json()["field"], unknown.json()["value"]) == (400, "attribute", "size:M")
    assert "color, volume" in unknown.json()["expected"]


def test_an_item_that_is_no_goods_is_in_no_answer(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    lists = Lists(not_recommendable=("gift*", "POST"), never_show=("cards",))
    items = {"new1": {"title": "Gift card"}, "new2": {"category": ["GARDEN", "Cards"]}, "POST": {"available": True}}
    puts = [change(item_id, **facts) for item_id, facts in items.items()]
    renamed = change("new1", title="Garden chair", category=["GARDEN"])
    responses = talk(
        *puts, "/v1/popular?n=1000", f"{USER}?n=1000", renamed, "/v1/popular?category=GARDEN", lists=lists
    )
    listed = ids(responses[3]) + ids(responses[4])
    assert "ap1" in listed
    assert not items.keys() & set(listed)
    assert ids(responses[-1]) == ["new1"]


def test_answers_have_few_items_of_a_type_and_one_of_a_title(talk: Talk, publish_shop: Publish) -> None:
    tea = [{"item_id": f"ap{rank}", "product_type": "TEA"} for rank in range(1, 6)]
    mugs = [{"item_id": "ap7", "title": "Mug, red"}, {"item_id": "ap8", "title": "MUG red"}]
    publish_shop(Shop(facts=(*tea, *mugs)))
    guest = "/v1/recommendations/nobody"
    popular, whole, first = talk("/v1/popular?n=12", f"{guest}?n=12", f"{guest}?n=6")
    later = ["ap3", "ap4"]  # the first tea is ten places before
    assert (
        ids(popular) == ids(whole) == ["ap1", "ap2", "ap6", "ap7", *(f"ap{rank}" for rank in range(9, 15)), *later]
    )
    (all_of_them,) = talk("/v1/popular?n=12", lists=Lists(max_per_type=0, max_per_title=0))
    assert ids(all_of_them) == [f"ap{rank}" for rank in range(1, 13)]
    (second,) = talk(f"{guest}?n=6&cursor={first.json()['cursor']}")
    assert ids(first) + ids(second) == ids(whole)


def test_items_of_everybody(talk: Talk, publish_shop: Publish) -> None:
    publish_shop(Shop(facts=({"item_id": "a1", "title": "Bread"},)))
    similar, trending, popular = talk("/v1/similar/a1?n=6", "/v1/trending?n=3", "/v1/popular?n=2&offset=1")
    assert ids(similar) == ["an1", "an2", "an3", "an4", "an5", "ap1"]
    assert similar.json()["items"][0]["reason"] == "similar to Bread"
    assert ids(trending) == ["at1", "at2", "ap1"]
    assert ids(popular) == ["ap2", "ap3"]


def test_a_batch_is_what_each_alone_would_get(talk: Talk, publish_shop: Publish) -> None:
    publish_shop(Shop(users=("7", "8")))
    both, *each = talk(
        ("POST", "/v1/recommendations/batch", {"user_ids": ["7", "nobody", "8"], "n": 3}),
        *(f"/v1/recommendations/{user_id}?n=3" for user_id in ("7", "nobody", "8")),
    )
    assert [answer["user_id"] for answer in both.json()["answers"]] == ["7", "nobody", "8"]
    for answer, alone in zip(both.json()["answers"], each, strict=True):
        assert answer["items"] == alone.json()["items"]


def test_given_items_are_put_in_order(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    wanted = {"user_id": "7", "item_ids": ["ap2", "a3", "unknown", "a1", "ap1", "a2"]}
    *_, ranked = talk(change("a2", available=False), ("POST", "/v1/rank", wanted))
    assert ids(ranked) == ["a1", "a3", "ap1", "ap2", "unknown"]


def test_a_user_as_known(talk: Talk, publish_shop: Publish) -> None:
    publish_shop(Shop(profiles={"7": '{"events":3,"categories":["TEA"]}'}))
    when = "2026-03-01T12:00:00+00:00"
    *_, user = talk(event("view", "a1", timestamp=when), "/v1/users/7")
    body = user.json()
    assert body["profile"] == {"events": 3, "categories": ["TEA"]}
    assert body["session"] == [{"event": "view", "item_id": "a1", "timestamp": when}]
    assert (body["items"], body["flag"]) == (30, None)


def test_others_are_answered_between_the_users_of_a_batch(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    users = [f"u{number}" for number in range(60)]
    body = {"user_ids": users, "n": 1000}

    async def scenario() -> int:
        async with application(settings) as http:
            await until(lambda: is_fresh(http))
            batches = [asyncio.create_task(http.post("/v1/recommendations/batch", json=body)) for _ in range(2)]
            answers = 0
            while not all(batch.done() for batch in batches):
                assert (await http.get(f"{USER}?n=1")).status_code == 200
                answers += 1
            for batch in batches:
                assert [answer["user_id"] for answer in (await batch).json()["answers"]] == users
            return answers

    assert asyncio.run(scenario()) > len(users)


def test_an_item_has_an_id_that_events_may_have(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    for path, facts, field in (("null", {"price": 1.0}, "item_id"), ("a1", {"group_id": "NaN"}, "group_id")):
        (response,) = talk(("PUT", f"/v1/items/{path}", facts))
        assert (response.status_code, response.json()["field"]) == (400, field)
    assert [response.status_code for response in talk(change("0", price=1.0))] == [200]


def test_a_time_of_an_item_is_a_text_with_a_zone(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    times = (5, -1, 1.5, 1796053153000, "1796053153", "2027-01-01T00:00:00", "2027-01-01")
    answers = talk(*(change("a1", valid_until=time) for time in times))
    assert [(answer.status_code, answer.json()["field"]) for answer in answers] == [(400, "valid_until")] * len(
        times
    )


def test_changes_of_an_item_together_leave_a_time_at_which_it_is_offered(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    early, late = "2027-01-01T00:00:00Z", "2030-01-01T00:00:00Z"
    steps = [
        (change("a1", valid_from=late, valid_until=early), 400, "valid_until"),
        (change("a1", valid_until=early), 200, None),
        (change("a1", valid_from=late), 400, "valid_from"),
        (change("a1", valid_from=early), 400, "valid_from"),
        (change("a1", valid_from=late, valid_until=None), 200, None),
        (change("a1", valid_until=early), 400, "valid_until"),
        (change("a1", price=1.0), 200, None),
        (change("unseen", valid_until=early), 200, None),
    ]
    answers = talk(*(request for request, _, _ in steps))
    assert [(answer.status_code, answer.json().get("field")) for answer in answers] == [
        (status, field) for _, status, field in steps
    ]


def test_probes_may_ask_for_the_head(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    for path in ("/live", "/ready"):
        answer, head = talk(path, ("HEAD", path, None))
        assert (head.status_code, head.content, head.headers["content-length"]) == (
            200,
            b"",
            answer.headers["content-length"],
        )
    (other,) = talk(("HEAD", "/v1/popular", None))
    assert other.status_code == 405

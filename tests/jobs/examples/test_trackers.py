"""The mappings of trackers in jobs/examples, on small exports and databases in the columns of each."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs.lake.lake import Lake
from tests.recipes import EVENT_COLUMNS, NOON, create_database, ingest_by_recipe, read_events, read_items


def write_json_lines(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    file.write_text("\n".join(map(json.dumps, rows)))


def ga4_event(name: str, minute: int, user: str | None, *items: dict[str, Any]) -> dict[str, Any]:
    """Return an event as BigQuery exports it to JSON: whole numbers are text."""
    microseconds = int(NOON.replace(minute=minute).timestamp() * 1_000_000) + 123_456
    session = {"key": "ga_session_id", "value": {"string_value": None, "int_value": "77"}}
    return {
        "event_date": "20240301",
        "event_timestamp": str(microseconds),
        "event_name": name,
        "event_params": [{"key": "page_title", "value": {"string_value": "Tea", "int_value": None}}, session],
        "user_id": user,
        "user_pseudo_id": "1234.5678",
        "items": items,
    }


def test_ga4(lake: Lake, tmp_path: Path) -> None:
    tea = {
        "item_id": "tea", "item_name": "Tea", "item_brand": "Planter", "item_category": "Drinks",
        "item_category2": "Green", "item_category3": None, "price": 2.5, "quantity": "2",
    }  # fmt: skip
    unset = tea | {"item_id": "(not set)"}
    events = [
        ga4_event("session_start", 0, None),
        ga4_event("view_item", 1, None, tea, unset),
        ga4_event("purchase", 2, "ann", tea | {"price": 3.0}),
        ga4_event("scroll", 3, "ann"),
    ]
    write_json_lines(tmp_path / "events_20240301.jsonl", events)
    counts = ingest_by_recipe(lake, "ga4", tmp_path / "events_20240301.jsonl")
    assert (counts["ga4"].accepted, counts["ga4"].quarantined) == (2, 0)
    time = NOON.replace(microsecond=123_456)
    assert read_events(lake) == [
        ("1234.5678", "tea", "view", time.replace(minute=1), 2.5, 2.0, "77"),
        ("ann", "tea", "purchase", time.replace(minute=2), 3.0, 2.0, "77"),
    ]
    columns = ("item_id", "title", "brand", "category", "price")
    assert read_items(lake, *columns) == [("tea", "Tea", "Planter", ["Drinks", "Green"], 3.0)]


def segment_track(event: str, message: str, user: str | None, **properties: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": event,
        "messageId": message,
        "userId": user,
        "anonymousId": "cookie",
        "timestamp": "2024-03-01T12:00:00.000Z",
        "properties": properties,
    }


def test_segment(lake: Lake, tmp_path: Path) -> None:
    products = [{"product_id": "tea", "sku": "T", "price": 2.5, "quantity": 2}, {"product_id": "mug", "price": 7}]
    calls = [
        {"type": "page", "messageId": "m0", "anonymousId": "cookie", "timestamp": "2024-03-01T11:00:00.000Z"},
        segment_track("Product Viewed", "m1", None, product_id="tea", sku="T", price=2.5, quantity=1),
        segment_track("Order Completed", "m2", "ann", order_id="o1", products=products),
    ]
    write_json_lines(tmp_path / "segment-2024-03-01.jsonl", calls)
    counts = ingest_by_recipe(lake, "segment", tmp_path / "segment-2024-03-01.jsonl")
    assert (counts["segment_products"].accepted, counts["segment_orders"].accepted) == (1, 2)
    assert sorted(read_events(lake, "event_id", *EVENT_COLUMNS)) == [
        ("m1", "cookie", "tea", "view", NOON, 2.5, 1.0, None),
        ("m2-1", "ann", "tea", "purchase", NOON, 2.5, 2.0, "o1"),
        ("m2-2", "ann", "mug", "purchase", NOON, 7.0, None, "o1"),
    ]


def snowplow_event(event_id: str, action: str, user: str | None, *products: dict[str, Any]) -> dict[str, Any]:
    entity = "com_snowplowanalytics_snowplow_ecommerce"
    return {
        "event_id": event_id,
        "event_name": "snowplow_ecommerce_action",
        "user_id": user,
        "domain_userid": "cookie",
        "domain_sessionid": "session",
        "derived_tstamp": "2024-03-01T12:00:00.000Z",
        "user_ipaddress": "203.0.113.7",
        "useragent": "Firefox",
        f"unstruct_event_{entity}_snowplow_ecommerce_action_1": {"type": action},
        f"contexts_{entity}_product_1": products,
    }


def test_snowplow(lake: Lake, tmp_path: Path) -> None:
    tea = {"id": "tea", "name": "Tea", "category": "Drinks", "brand": "Planter", "price": 2.5, "currency": "EUR"}
    mug = tea | {"id": "mug", "name": "Mug", "category": "Kitchen", "price": 7, "quantity": 3}
    events = [
        snowplow_event("e1", "product_view", None, tea),
        snowplow_event("e2", "transaction", "ann", tea | {"quantity": 1}, mug),
        snowplow_event("e3", "checkout_step", "ann", tea),
    ]
    write_json_lines(tmp_path / "snowplow-2024-03-01.jsonl", events)
    counts = ingest_by_recipe(lake, "snowplow", tmp_path / "snowplow-2024-03-01.jsonl")
    assert (counts["snowplow"].accepted, counts["snowplow"].quarantined) == (3, 0)
    assert sorted(read_events(lake, "event_id", *EVENT_COLUMNS, "ip")) == [
        ("e1-1", "cookie", "tea", "view", NOON, 2.5, None, "session", "203.0.113.7"),
        ("e2-1", "ann", "tea", "purchase", NOON, 2.5, 1.0, "session", "203.0.113.7"),
        ("e2-2", "ann", "mug", "purchase", NOON, 7.0, 3.0, "session", "203.0.113.7"),
    ]
    assert read_items(lake, "item_id", "title", "category") == [
        ("mug", "Mug", ["Kitchen"]),
        ("tea", "Tea", ["Drinks"]),
    ]


MATOMO_VISITOR = bytes.fromhex("00ff00ff00ff00ff")
MATOMO = {
    "matomo_log_action": [{"idaction": 1, "name": "tea"}, {"idaction": 2, "name": "mug"}],
    "matomo_log_visit": [{"idvisit": 1, "user_id": None}, {"idvisit": 2, "user_id": "ann"}],
    "matomo_log_conversion_item": [
        {
            "idsite": site, "idvisitor": MATOMO_VISITOR, "idvisit": visit, "server_time": "2024-03-01 12:00:00",
            "idorder": order, "idaction_sku": sku, "price": 2.5, "quantity": 2, "deleted": deleted,
        }
        for site, visit, order, sku, deleted in (
            (1, 2, "o1", 1, 0), (1, 2, "o1", 2, 1), (1, 1, "0", 2, 0), (9, 1, "o2", 1, 0),
        )
    ],
    "matomo_log_link_visit_action": [
        {
            "idlink_va": number, "idsite": 1, "idvisitor": MATOMO_VISITOR, "idvisit": 1,
            "server_time": "2024-03-01 11:00:00", "idaction_product_sku": sku, "product_price": price,
        }
        for number, sku, price in ((1, 1, 2.5), (2, None, None))
    ],
}  # fmt: skip


def test_matomo(lake: Lake, tmp_path: Path) -> None:
    ingest_by_recipe(lake, "matomo", matomo=create_database(tmp_path / "matomo.db", MATOMO))
    assert read_events(lake, "event_id", *EVENT_COLUMNS[:-1]) == [
        ("1", "00ff00ff00ff00ff", "tea", "view", NOON.replace(hour=11), 2.5, None),
        ("1-0-mug", "00ff00ff00ff00ff", "mug", "cart", NOON, 2.5, 2.0),
        ("2-o1-tea", "ann", "tea", "purchase", NOON, 2.5, 2.0),
    ]

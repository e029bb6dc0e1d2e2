"""Scripts are flagged while their events come in; customers are not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.experiments.backtest import backtest
from jobs.ingest.stream import archive
from jobs.lake.lake import Lake
from recsys.anomaly.windows import WINDOWS_MS
from recsys.settings import Settings
from recsys.store.flags import Flag, flagged_users, put_flags, read_flag
from tests.acts import Row
from tests.serving.conftest import Publish, Talk, ids
from tests.serving.guard.traffic import KEYS, START, Clock, acts, changed, each, entries, names, take
from tests.serving.intake.test_events import in_stream, posting


def test_a_script_is_flagged_within_its_burst(settings: Settings, client: redis.Redis) -> None:
    burst = acts("bot", 40, 0.1, uneven=0.9)
    take(settings, *each([*burst, *acts("ann", 5, 20.0)]))
    flag = read_flag(client, KEYS, "bot")
    assert flag is not None
    assert flag.source == "online"
    assert 80 <= flag.score <= 100
    assert (flag.until - flag.since) == timedelta(hours=24)
    assert flag.since - START < timedelta(seconds=3.1)
    assert "events in 10 s, a shopper makes at most 30" in flag.reasons[0] or "again and again" in flag.reasons[0]
    assert flagged_users(client, KEYS, START) == ["bot"]
    assert 0 < client.pttl(KEYS.flag("bot")) <= 86_400_000
    (entry,) = entries(client)
    assert entry == {
        "user_id": "bot",
        "score": flag.score,
        "reasons": list(flag.reasons),
        "timestamp": flag.since.isoformat().replace("+00:00", "Z"),
        "shadow": False,
    }
    assert len(in_stream(client)) == 45


@pytest.mark.parametrize("size", [1, 7, 60])
def test_batches_of_any_size_tell_the_same(settings: Settings, client: redis.Redis, size: int) -> None:
    rows = acts("bot", 60, 0.1)
    take(settings, *(rows[start : start + size] for start in range(0, 60, size)))
    assert flagged_users(client, KEYS, START) == ["bot"]


def test_what_workers_counted_is_not_lost_with_them(settings: Settings, client: redis.Redis) -> None:
    for batch in each(acts("bot", 40, 0.1)):
        take(settings, batch)
    assert flagged_users(client, KEYS, START) == ["bot"]


def test_a_script_as_slow_as_a_customer_is_detected_by_its_regularity(
    settings: Settings, client: redis.Redis
) -> None:
    take(settings, *each(acts("bot", 40, 30.0)))
    flag = read_flag(client, KEYS, "bot")
    assert flag is not None
    assert flag.reasons[0].startswith("gaps between events vary by 0%")


def test_a_page_that_reloads_itself_is_no_script(settings: Settings, client: redis.Redis) -> None:
    take(settings, *each(acts("ann", 40, 30.0, item_id="tea")))
    assert flagged_users(client, KEYS, START) == []


@pytest.mark.parametrize("seconds", [0.0, 0.01], ids=["at one time", "one after the other"])
def test_an_order_of_many_lines_is_one_act(settings: Settings, client: redis.Redis, seconds: float) -> None:
    order = acts("ann", 80, seconds, event="purchase", price=1.0)
    take(settings, order, *each(acts("bob", 80, seconds, event="refund")))
    assert flagged_users(client, KEYS, START) == []


def test_one_item_bought_again_and_again_is_no_order(settings: Settings, client: redis.Redis) -> None:
    take(settings, *each(acts("bot", 45, 0.1, event="purchase", item_id="tea")))
    assert flagged_users(client, KEYS, START) == ["bot"]


def test_events_of_long_ago_are_taken_and_not_judged(settings: Settings, client: redis.Redis) -> None:
    rows = acts("ann", 300, 0.1, START - timedelta(hours=3))
    take(settings, rows, clock=Clock())
    assert len(in_stream(client)) == 300
    assert names(client, "recsys:rates:*") == []
    assert flagged_users(client, KEYS, START) == []


def test_events_that_are_a_little_late_count_for_the_longer_windows(
    settings: Settings, client: redis.Redis
) -> None:
    take(settings, acts("ann", 3, 0.1, START - timedelta(minutes=12)), clock=Clock())
    windows = {key.split(b"{")[1].split(b"}")[0] for key in names(client, "recsys:rates:*")}
    assert windows == {b"3600000"}


def test_the_counters_of_any_number_of_users_take_the_same_memory(settings: Settings, client: redis.Redis) -> None:
    rows = [row for user in range(400) for row in acts(f"u{user}", 1, 1.0)]
    take(settings, rows)
    keys: Any = names(client, "recsys:rates:*")
    assert len(keys) == len(WINDOWS_MS)
    assert all(client.strlen(key) <= 2**20 for key in keys)
    assert all(0 < client.pttl(key) <= 3 * max(WINDOWS_MS) for key in keys)


def test_who_is_flagged_is_accepted_and_no_longer_counted(settings: Settings, client: redis.Redis) -> None:
    put_flags(client, KEYS, [Flag("bot", 90.0, (), "nightly", START, datetime.now(UTC) + timedelta(hours=1))])
    take(settings, *each(acts("bot", 40, 0.1)))
    assert len(in_stream(client)) == 40
    assert names(client, "recsys:rates:*") == []
    assert names(client, "recsys:active:*") == []
    assert entries(client) == []
    flag = read_flag(client, KEYS, "bot")
    assert flag is not None
    assert flag.source == "nightly"


def test_impressions_are_no_acts(settings: Settings, client: redis.Redis) -> None:
    take(settings, *each(acts("ann", 60, 0.05, event="impression")))
    assert flagged_users(client, KEYS, START) == []
    assert names(client, "recsys:rates:*") == []


def test_switched_off_nothing_is_counted(settings: Settings, client: redis.Redis) -> None:
    take(changed(settings, online="off"), *each(acts("bot", 60, 0.1)))
    kinds = {key.split(b":")[1] for key in names(client, "recsys:*")}
    assert kinds == {b"event_ids", b"events", b"session", b"pseudonyms"}


def test_addresses_are_counted_by_hashes_and_never_kept(settings: Settings, client: redis.Redis) -> None:
    private = replace(settings, pseudonym_key="key")
    rows = [row for user in range(30) for row in acts(f"u{user}", 1, 1.0, ip="203.0.113.7", user_agent="curl/8")]
    take(private, *each(rows))
    assert names(client, "recsys:users_of:*") != []
    assert all("ip" not in event and "user_agent" not in event for event in in_stream(client))
    everything = b" ".join(names(client, "*"))
    assert b"203.0.113" not in everything
    assert b"curl" not in everything


def test_an_office_of_many_customers_is_no_script(settings: Settings, client: redis.Redis) -> None:
    rows = [row for user in range(200) for row in acts(f"u{user}", 2, 9.0, ip="203.0.113.7", user_agent="same")]
    take(settings, rows)
    assert flagged_users(client, KEYS, START) == []
    devices = names(client, "recsys:users_of:*")
    assert len(devices) == 1
    assert 190 <= client.pfcount(*devices) <= 210


def test_a_crowd_behind_one_device_speaks_against_who_is_fast(settings: Settings, client: redis.Redis) -> None:
    """The same acts, alone under the score, are over it where the device has changed its user a hundred times."""
    crowd = [row for user in range(100) for row in acts(f"u{user}", 1, 1.0, ip="203.0.113.7", user_agent="same")]
    later = START + timedelta(seconds=100)
    fast = acts("fast", 20, 0.4, later, 0.9, ip="203.0.113.7", user_agent="same")
    alone = acts("alone", 20, 0.4, later, 0.9, ip="198.51.100.1", user_agent="same")
    take(settings, crowd, *each([*fast, *alone]))
    assert flagged_users(client, KEYS, START) == ["fast"]
    flag = read_flag(client, KEYS, "fast")
    assert flag is not None
    assert any("users of its device in an hour" in reason for reason in flag.reasons)


def test_an_allowed_network_counts_for_nothing(settings: Settings, client: redis.Redis) -> None:
    rows = [row for user in range(30) for row in acts(f"u{user}", 1, 1.0, ip="10.1.2.3")]
    take(changed(settings, allowed_networks=("10.0.0.0/8",)), rows, acts("odd", 1, 1.0, ip="no address"))
    assert names(client, "recsys:users_of:*") == []


def test_a_guest_is_flagged_as_users_are_and_judged_anew_by_its_acts_when_it_logs_in(
    settings: Settings, client: redis.Redis
) -> None:
    guest = acts("guest", 40, 0.1, session_id="s1")
    for row in guest:
        del row["user_id"]
    take(settings, *([row] for row in guest))
    assert flagged_users(client, KEYS, START) == ["guest:s1"]
    (login, following) = acts("ann", 2, 0.1, START + timedelta(seconds=4), session_id="s1")
    take(settings, [login])
    assert read_flag(client, KEYS, "ann") is None
    assert client.zcard(KEYS.session("ann")) == 41
    take(settings, [following])
    assert read_flag(client, KEYS, "ann") is not None


def test_a_purchase_without_a_price_counts_where_purchases_have_prices(
    settings: Settings, client: redis.Redis
) -> None:
    def purchase(**facts: Any) -> list[Row]:
        return acts("fast", 1, 1.0, START + timedelta(seconds=10), event="purchase", **facts)

    fast = acts("fast", 19, 0.4, START + timedelta(seconds=2), 0.9)
    take(settings, fast, purchase())
    assert flagged_users(client, KEYS, START) == []
    client.flushall()
    customers = [row for user in range(150) for row in acts(f"u{user}", 1, 1.0, event="purchase", price=2.0)]
    take(settings, customers, fast, purchase())
    (flag,) = [read_flag(client, KEYS, user) for user in flagged_users(client, KEYS, START)]
    assert flag is not None
    assert "a purchase without a price, where purchases have prices" in flag.reasons


def test_a_flagged_user_gets_the_popular_list_from_the_next_answer_on(talk: Talk, publish_shop: Publish) -> None:
    publish_shop()
    now = datetime.now(UTC) - timedelta(seconds=5)
    before, _, after = talk(
        "/v1/recommendations/7?n=3", posting(*acts("7", 50, 0.05, now)), "/v1/recommendations/7?n=3"
    )
    assert ids(before) == ["a1", "a2", "a3"]
    assert ids(after) == ["ap1", "ap2", "ap3"]


def test_a_backtest_raises_the_flags_that_the_server_did(
    settings: Settings, client: redis.Redis, tmp_path: Path
) -> None:
    later = START + timedelta(seconds=40)
    rows = [
        *acts("burst", 60, 0.1, uneven=0.9),
        *acts("regular", 40, 20.0),
        *acts("ann", 30, 25.0, uneven=0.9),
        *acts("order", 80, 0.01, later, event="purchase", price=1.0),
        *(row for user in range(60) for row in acts(f"u{user}", 1, 1.0, ip="203.0.113.7")),
        *acts("fast", 24, 0.4, later, 0.9, ip="203.0.113.7"),
    ]
    take(settings, *each(rows))
    lake = Lake(tmp_path / "lake")
    archive(lake, settings.sources, client, KEYS, datetime(2027, 1, 1, tzinfo=UTC))
    result = backtest(lake, settings, START.date())
    live = lake.flags().sort("timestamp").collect()
    assert {flag.user_id for flag in result.flags} >= {"burst", "regular"}
    assert [flag.user_id for flag in result.flags] == live["user_id"].to_list()
    for flag, (score, at) in zip(result.flags, live.select("score", "timestamp").rows(), strict=True):
        assert abs(flag.score - score) < 2
        assert abs(flag.at - at) <= timedelta(milliseconds=1)
    assert result.share == len(result.flags) / result.users

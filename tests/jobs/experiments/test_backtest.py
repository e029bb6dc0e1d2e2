"""Replays of a day raise the flags that the server would have raised."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.experiments import backtest as replaying
from jobs.experiments.backtest import Backtest, backtest, event_days
from jobs.lake.lake import Lake
from recsys.anomaly.circuit_breaker import MIN_DAILY_FLAG_LIMIT
from recsys.contract import Events
from recsys.pseudonyms import Pseudonyms, pseudonym
from recsys.settings import Settings
from tests.acts import Row, views

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, 0, 1, tzinfo=UTC)
SETTINGS = Settings()


def acts(
    user: str, count: int, seconds: float, start: datetime = NOON, uneven: float = 0.0, **facts: Any
) -> list[Row]:
    """Views that begin at noon."""
    return views(user, count, seconds, start, uneven, **facts)


def lake_with(directory: Path, rows: Sequence[Row], **facts: Any) -> Lake:
    """A lake that holds these events, whose ids are their numbers."""
    lake = Lake(directory / "lake", **facts)
    schema = pl.Schema(Events)
    table = pl.DataFrame([row | {"event_id": f"{number:06d}"} for number, row in enumerate(rows)], schema=schema)
    with lake.locked():
        lake.add_online_events(table.lazy())
    return lake


def changed(**anomalies: Any) -> Settings:
    return replace(SETTINGS, anomalies=replace(SETTINGS.anomalies, **anomalies))


def users(result: Backtest) -> list[str]:
    return [flag.user_id for flag in result.flags]


def test_a_burst_is_flagged_at_its_twentieth_gap_and_customers_are_not(tmp_path: Path) -> None:
    """21 gaps of 1 s are as sure as the limit, whose 20.7 the 22nd event is the first to reach."""
    rows = [*acts("bot", 40, 1.0), *acts("ann", 12, 47.3), *acts("bob", 1, 1.0)]
    lake = lake_with(tmp_path, rows, buckets=2)
    result = backtest(lake, SETTINGS, DAY)
    assert (result.day, result.users, result.events) == (DAY, 3, 53)
    (flag,) = result.flags
    assert (flag.user_id, flag.held_back) == ("bot", False)
    assert flag.at - NOON <= timedelta(seconds=21)
    assert 80 <= flag.score <= 100
    assert any("again and again" in reason or "vary by 0%" in reason for reason in flag.reasons)
    assert result.share == 1 / 3


def test_a_day_is_of_utc_and_others_do_not_count(tmp_path: Path) -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    rows = [*acts("bot", 20, 0.1, midnight - timedelta(seconds=1)), *acts("ann", 2, 9.0, NOON - timedelta(days=3))]
    lake = lake_with(tmp_path, rows)
    assert event_days(lake) == [date(2026, 2, 26), DAY, date(2026, 3, 2)]
    result = [backtest(lake, SETTINGS, day) for day in (DAY, date(2026, 3, 2), date(2026, 2, 27))]
    assert [(each.users, each.events, len(each.flags)) for each in result] == [(1, 10, 0), (1, 10, 0), (0, 0, 0)]
    assert result[2].share == 0.0
    assert event_days(Lake(tmp_path / "empty")) == []


def test_a_flag_is_raised_again_when_it_has_expired(tmp_path: Path) -> None:
    rows = [*acts("bot", 60, 0.1), *acts("bot", 60, 0.1, NOON + timedelta(hours=2))]
    lake = lake_with(tmp_path, rows)
    assert users(backtest(lake, SETTINGS, DAY)) == ["bot"]
    assert users(backtest(lake, changed(flag_hours=1.0), DAY)) == ["bot"] * 2
    assert backtest(lake, changed(flag_hours=1.0), DAY).flags[1].at >= NOON + timedelta(hours=1)


def test_a_higher_score_flags_later_and_allowed_users_never(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, acts("bot", 60, 0.1))
    first = backtest(lake, SETTINGS, DAY).flags[0]
    later = backtest(lake, changed(flag_threshold=99.0), DAY).flags[0]
    assert later.at > first.at
    assert later.score >= 99 > first.score
    assert backtest(lake, changed(allowed_users=("bot",)), DAY).flags == ()


def test_allowed_users_are_known_by_their_pseudonyms(tmp_path: Path) -> None:
    hidden = pseudonym("a key", "bot")
    lake = lake_with(tmp_path, [*acts(hidden, 60, 0.1), *acts("other", 60, 0.1)], pseudonyms=Pseudonyms(("a key",)))
    assert users(backtest(lake, changed(allowed_users=("bot",)), DAY)) == ["other"]


def test_a_crowd_behind_one_device_speaks_against_who_is_fast_unless_its_network_is_allowed(tmp_path: Path) -> None:
    device = {"ip": "10.1.2.3", "user_agent": "same"}
    crowd = [row | device for user in range(100) for row in acts(f"u{user:03d}", 1, 1.0)]
    later = NOON + timedelta(seconds=100)
    fast = [row | device for row in acts("fast", 20, 0.4, later, 0.9)]
    alone = [row | device | {"ip": "198.51.100.1"} for row in acts("alone", 20, 0.4, later, 0.9)]
    lake = lake_with(tmp_path, [*crowd, *fast, *alone, *acts("odd", 1, 1.0, ip="no address")])
    result = backtest(lake, SETTINGS, DAY)
    assert users(result) == ["fast"]
    assert any("users of its device in an hour" in reason for reason in result.flags[0].reasons)
    assert backtest(lake, changed(allowed_networks=("10.0.0.0/8",)), DAY).flags == ()


def test_flags_beyond_a_share_of_the_days_users_are_deferred(tmp_path: Path) -> None:
    bots = [
        row
        for number in range(MIN_DAILY_FLAG_LIMIT + 3)
        for row in acts(f"bot{number:03d}", 31, 0.1, NOON + timedelta(minutes=number))
    ]
    result = backtest(lake_with(tmp_path, bots), SETTINGS, DAY)
    assert users(result) == [f"bot{number:03d}" for number in range(MIN_DAILY_FLAG_LIMIT + 3)]
    assert [flag.held_back for flag in result.flags] == [False] * MIN_DAILY_FLAG_LIMIT + [True] * 3
    assert result.share == MIN_DAILY_FLAG_LIMIT / (MIN_DAILY_FLAG_LIMIT + 3)


@pytest.mark.parametrize("seconds", [0.0, 0.01], ids=["at one time", "one after the other"])
def test_a_big_order_is_one_act(tmp_path: Path, seconds: float) -> None:
    order = acts("ann", 500, seconds, event="purchase", price=1.0)
    assert backtest(lake_with(tmp_path, order), SETTINGS, DAY).flags == ()


def test_one_item_bought_again_and_again_at_one_time_is_no_order(tmp_path: Path) -> None:
    rows = acts("bot", 45, 0.0, event="purchase", item_id="tea", price=1.0)
    assert users(backtest(lake_with(tmp_path, rows), SETTINGS, DAY)) == ["bot"]


def test_a_big_order_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = lake_with(tmp_path, acts("ann", 500, 0.0, event="purchase", price=1.0))
    calls: list[int] = []

    def counted(*given: Any) -> Any:
        calls.append(1)
        return score_user(*given)

    score_user = replaying.score_user
    monkeypatch.setattr(replaying, "score_user", counted)
    backtest(lake, SETTINGS, DAY)
    assert len(calls) == 1


def test_a_purchase_without_a_price_counts_where_purchases_have_prices(tmp_path: Path) -> None:
    def fast(user: str, start: datetime) -> list[Row]:
        order = acts(user, 3, 0.0, start + timedelta(seconds=8), event="purchase", price=1.0)
        return [*acts(user, 19, 0.4, start, 0.9), *order[:2], order[2] | {"price": None}]

    priced = [row for number in range(150) for row in acts(f"u{number:03d}", 1, 1.0, event="purchase", price=2.0)]
    rows = [*fast("early", NOON - timedelta(hours=1)), *priced, *fast("late", NOON + timedelta(hours=1))]
    result = backtest(lake_with(tmp_path, rows), SETTINGS, DAY)
    assert users(result) == ["late"]
    assert result.flags[0].reasons[-1] == "a purchase without a price, where purchases have prices"


ORDERS = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.sampled_from(["ann", "bot"]),
        st.lists(
            st.tuples(
                st.integers(0, 12), st.sampled_from(["view", "purchase", "refund"]), st.sampled_from([None, 1.0])
            ),
            min_size=1,
            max_size=6,
        ),
    ),
    max_size=9,
)


@pytest.mark.parametrize("score", [20.0, 50.0, 80.0])
@hypothesis_settings(max_examples=40, deadline=None)
@given(orders=ORDERS)
def test_the_flags_are_those_of_judging_every_line(
    score: float, orders: list[tuple[int, str, list[tuple[int, str, float | None]]]]
) -> None:
    """Of what users did at some moments of 12 s, of which the last 20 acts are known."""
    settings = changed(flag_threshold=score)
    settings = replace(settings, serving=replace(settings.serving, session_events=20))

    def flags(every_line: bool) -> list[tuple[str, datetime, float]]:
        replay = replaying._Replay(settings, frozenset())  # pyright: ignore[reportPrivateUsage]
        result: list[tuple[str, datetime, float]] = []
        for second, user, lines in sorted(orders, key=lambda order: order[:2]):
            for item, event, price in lines:
                if every_line:
                    replay._scored.clear()  # pyright: ignore[reportPrivateUsage]
                at = NOON + timedelta(seconds=second)
                raised = replay.process(user, f"i{item}", event, at, price, None, None, None)
                if raised is not None:
                    result.append((raised.user_id, raised.at, raised.score))
        return result

    assert flags(every_line=False) == flags(every_line=True)

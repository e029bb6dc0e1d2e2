"""Flags: shadow mode, allowed users, and the circuit breaker."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import redis
from structlog.testing import capture_logs

from recsys.anomaly.circuit_breaker import MIN_DAILY_FLAG_LIMIT
from recsys.settings import Settings
from recsys.settings.anomalies import Anomalies
from recsys.store.flags import flagged_users, read_flag, release_user
from tests.serving.conftest import application
from tests.serving.guard.traffic import KEYS, START, acts, changed, each, entries, take
from tests.waiting import until


def test_in_shadow_mode_nobody_is_flagged_and_everything_is_recorded(
    settings: Settings, client: redis.Redis
) -> None:
    take(changed(settings, online="shadow"), *each(acts("bot", 60, 0.1)))
    assert read_flag(client, KEYS, "bot") is None
    assert flagged_users(client, KEYS, START) == []
    (entry,) = entries(client)
    assert (entry["user_id"], entry["shadow"]) == ("bot", True)
    assert client.get(KEYS.suspect("bot")) == b"shadow"


def test_who_is_allowed_is_not_flagged(settings: Settings, client: redis.Redis) -> None:
    release_user(client, KEYS, "released")
    rows = [row for user in ("tester", "released", "bot") for row in acts(user, 40, 0.1)]
    take(changed(settings, allowed_users=("tester",)), *each(rows))
    assert flagged_users(client, KEYS, START) == ["bot"]
    assert client.get(KEYS.suspect("released")) == b"allowed"


def test_pseudonyms_of_allowed_users_are_known(settings: Settings, client: redis.Redis) -> None:
    private = replace(settings, pseudonym_key="key")
    take(changed(private, allowed_users=("tester",)), *each([*acts("tester", 40, 0.1), *acts("bot", 40, 0.1)]))
    (user,) = flagged_users(client, KEYS, START)
    assert (len(user), user) != (3, "bot")


def test_beyond_a_share_of_the_days_users_nobody_more_is_flagged(settings: Settings, client: redis.Redis) -> None:
    bots = [f"bot{number:03d}" for number in range(MIN_DAILY_FLAG_LIMIT + 20)]
    with capture_logs() as logged:
        take(settings, *(acts(bot, 40, 0.1) for bot in bots))
    flagged = flagged_users(client, KEYS, START)
    assert abs(len(flagged) - MIN_DAILY_FLAG_LIMIT) <= 2
    deferred = [bot for bot in bots if client.get(KEYS.suspect(bot)) == b"held_back"]
    assert len(deferred) == len(bots) - len(flagged)
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    left = timedelta(milliseconds=client.pttl(KEYS.suspect(deferred[0])))
    assert left <= midnight - START
    metrics = [entry["event"] for entry in logged]
    assert metrics.count("automatic flagging stopped for today") == 1

    take(settings, acts(deferred[0], 40, 0.1, midnight))
    assert len(flagged_users(client, KEYS, START)) == len(flagged)
    client.unlink(KEYS.suspect(deferred[0]))
    take(settings, acts(deferred[0], 40, 0.1, midnight + timedelta(hours=1)))
    assert read_flag(client, KEYS, deferred[0]) is not None


def test_outcomes_of_flags_are_counted(settings: Settings) -> None:
    async def is_active(http: httpx.AsyncClient) -> bool:
        return b"recsys_flags_active 1.0" in (await http.get("/metrics")).content

    async def scenario() -> httpx.Response:
        async with application(settings) as http:
            now = datetime.now(UTC) - timedelta(seconds=5)
            for batch in (acts("bot", 50, 0.05, now), acts("bot", 5, 0.05), acts("ann", 3, 0.5, now)):
                assert (await http.post("/v1/events", json=batch)).status_code == 202
            await until(lambda: is_active(http))
            return await http.get("/metrics")

    metrics = asyncio.run(scenario()).text
    assert 'recsys_flags_total{outcome="flagged"} 1.0' in metrics
    assert "recsys_events_scored_total 53.0" in metrics


def test_the_settings_of_anomalies_are_as_documented() -> None:
    assert (Anomalies().online, Anomalies().flag_threshold, Anomalies().max_flagged_share) == ("flag", 80.0, 0.02)

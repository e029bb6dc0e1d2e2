"""Administrators list flagged users and overrule flags, at once and for later nightly runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import polars as pl
import pytest
import redis

from jobs.ingest.stream import archive
from jobs.lake.lake import Lake
from jobs.pipeline.steps.screen import combine_verdicts
from recsys.api_key_file import API_KEYS_FILE
from recsys.api_keys import Scope
from recsys.audit.log import AUDIT_FILE, AuditLog
from recsys.pseudonyms import pseudonym
from recsys.settings import Settings
from recsys.store.flags import LABEL_FLAG_DAYS, LABEL_REASON, Flag, flagged_users, put_flags, read_flag
from recsys.store.keys import Keys
from tests.serving.conftest import Publish, Talk, ids
from tests.serving.guard.traffic import acts
from tests.serving.http.test_recommendations import ODD_IDS
from tests.serving.keys import USER, ask, keep

KEYS = Keys("recsys")
NOW = datetime.now(UTC).replace(microsecond=0)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
REASONS = ("214 events in 10 s, a shopper makes at most 30", "48 users of its device in an hour")


def flag_users(client: redis.Redis, *users: str, hours: float = 1.0) -> list[Flag]:
    """Flags, each of which holds an hour longer than the one before."""
    flags = [
        Flag(user, 91.5, REASONS, "online", NOW, NOW + timedelta(hours=hours + more))
        for more, user in enumerate(users)
    ]
    assert put_flags(client, KEYS, flags) == len(flags)
    return flags


def archived(settings: Settings, client: redis.Redis, directory: Path) -> Lake:
    """A lake with what is in the stream."""
    lake = Lake(directory)
    assert archive(lake, settings.sources, client, KEYS, LATEST).invalid == 0
    return lake


def contents(responses: Sequence[httpx.Response]) -> list[Any]:
    """Return the bodies of answers without their request ids."""
    for response in responses:
        assert response.status_code == 200, response.text
        assert response.json()["request_id"] == response.headers["x-request-id"]
    return [
        {name: value for name, value in response.json().items() if name != "request_id"} for response in responses
    ]


def test_users_are_listed_page_by_page_those_flagged_longest_first(talk: Talk, client: redis.Redis) -> None:
    flags = flag_users(client, "a", "b", "c", "d")
    everyone, first, second, beyond = contents(
        talk(
            "/v1/anomalies",
            "/v1/anomalies?n=3",
            "/v1/anomalies?n=3&offset=3",
            "/v1/anomalies?offset=4",
        )
    )
    assert [flag["user_id"] for flag in everyone["flags"]] == ["d", "c", "b", "a"]
    assert everyone["flags"][0] == {
        "user_id": "d",
        "score": 91.5,
        "reasons": list(REASONS),
        "source": "online",
        "since": NOW.isoformat(),
        "until": flags[3].until.isoformat(),
    }
    assert first["flags"] + second["flags"] == everyone["flags"]
    assert beyond["flags"] == []
    assert [page["total"] for page in (everyone, first, second, beyond)] == [4] * 4


def test_an_expired_flag_is_not_listed(talk: Talk, client: redis.Redis) -> None:
    flag_users(client, "here")
    client.zadd(KEYS.flags, {"gone": int(NOW.timestamp() * 1e3) - 1, "half written": 4_102_444_800_000})
    (result,) = contents(talk("/v1/anomalies"))
    assert [flag["user_id"] for flag in result["flags"]] == ["here"]


@pytest.mark.parametrize("query", ["n=1001", "offset=-1"])
def test_what_is_wrong_with_a_page_is_contents(talk: Talk, query: str) -> None:
    (response,) = talk(f"/v1/anomalies?{query}")
    assert response.status_code == 400
    assert response.json()["field"] == query.split("=")[0]


def test_a_user_is_explained(talk: Talk, client: redis.Redis) -> None:
    flag_users(client, "bot")
    client.set(KEYS.flag("foreign"), "too many events", px=60_000)
    bot, nobody, foreign = contents(talk("/v1/anomalies/bot", "/v1/anomalies/nobody", "/v1/anomalies/foreign"))
    assert bot["flag"]["reasons"] == list(REASONS)
    assert (bot["user_id"], bot["released"]) == ("bot", False)
    assert nobody == {"user_id": "nobody", "flag": None, "released": False}
    assert foreign["flag"] is None


def test_ids_are_of_any_letters(talk: Talk, client: redis.Redis) -> None:
    flag_users(client, *ODD_IDS)
    paths = [f"/v1/anomalies/{quote(user_id, safe='')}" for user_id in ODD_IDS]
    requests = [request for path in paths for request in (path, ("DELETE", path, None), path)]
    answers = contents(talk(*requests))
    for number, user_id in enumerate(ODD_IDS):
        before, done, after = answers[3 * number : 3 * number + 3]
        assert before["flag"]["user_id"] == before["user_id"] == user_id
        assert done == {"user_id": user_id, "label": "fine"}
        assert after == {"user_id": user_id, "flag": None, "released": True}


def test_who_is_released_is_never_flagged_again(
    settings: Settings, talk: Talk, client: redis.Redis, publish_shop: Publish, tmp_path: Path
) -> None:
    publish_shop()
    flag_users(client, "7", "other")
    burst = ("POST", "/v1/events", acts("7", 50, 0.05, datetime.now(UTC) - timedelta(seconds=5)))
    before, done, after, _, still, explained = talk(
        "/v1/recommendations/7?n=2",
        ("DELETE", "/v1/anomalies/7", None),
        "/v1/recommendations/7?n=2",
        burst,
        "/v1/recommendations/7?n=2&exclude=i1",
        "/v1/anomalies/7",
    )
    assert ids(before) == ["ap1", "ap2"]
    assert contents([done]) == [{"user_id": "7", "label": "fine"}]
    assert ids(after) == ["a1", "a2"]
    assert ids(still) == ["a1", "a2"]
    assert contents([explained]) == [{"user_id": "7", "flag": None, "released": True}]
    assert client.get(KEYS.suspect("7")) == b"allowed"
    assert flagged_users(client, KEYS, NOW) == ["other"]
    assert client.sismember(KEYS.unflaggable, "7")
    assert put_flags(client, KEYS, [Flag("7", 99.0, (), "nightly", NOW, NOW + timedelta(hours=1))]) == 0

    lake = archived(settings, client, tmp_path / "lake")
    labels = lake.labels().collect()
    assert labels.select("user_id", "label").rows() == [("7", "fine")]
    detected = pl.DataFrame(
        {"user_id": ["7", "other"], "score": [99.0, 99.0], "flagged": True, "reasons": [["fast"], ["fast"]]}
    )
    judged = combine_verdicts(
        pl.DataFrame({"user_id": ["7", "other"], "events": [50, 50]}), detected, labels, detected, []
    )
    assert dict(judged.select("user_id", "flagged").rows()) == {"7": False, "other": True}


def test_a_user_labeled_as_bot_is_flagged_at_once(
    settings: Settings, talk: Talk, client: redis.Redis, publish_shop: Publish, tmp_path: Path
) -> None:
    publish_shop()
    client.sadd(KEYS.unflaggable, "7")
    before, done, after, explained = talk(
        "/v1/recommendations/7?n=2",
        ("PUT", "/v1/anomalies/7", {"label": "bot"}),
        "/v1/recommendations/7?n=2",
        "/v1/anomalies/7",
    )
    assert ids(before) == ["a1", "a2"]
    assert contents([done]) == [{"user_id": "7", "label": "bot"}]
    assert ids(after) == ["ap1", "ap2"]
    (shown,) = contents([explained])
    assert (shown["flag"]["source"], shown["flag"]["score"]) == ("label", 100.0)
    assert shown["flag"]["reasons"] == [LABEL_REASON]
    assert not shown["released"]
    flag = read_flag(client, KEYS, "7")
    assert flag is not None
    assert flag.until - flag.since == timedelta(days=LABEL_FLAG_DAYS)
    assert flagged_users(client, KEYS, NOW) == ["7"]
    labels = archived(settings, client, tmp_path / "lake").labels().collect()
    assert labels.select("user_id", "label", "labelled_at").rows() == [("7", "bot", flag.since)]


def test_the_last_label_counts(settings: Settings, talk: Talk, client: redis.Redis, tmp_path: Path) -> None:
    *_, explained = contents(
        talk(
            ("PUT", "/v1/anomalies/7", {"label": "bot"}),
            ("PUT", "/v1/anomalies/7", {"label": "fine"}),
            "/v1/anomalies/7",
        )
    )
    assert explained == {"user_id": "7", "flag": None, "released": True}
    labels = archived(settings, client, tmp_path / "lake").labels().collect()
    assert labels.select("user_id", "label").rows() == [("7", "fine")]


@pytest.mark.parametrize(
    ("body", "field"),
    [({"label": "maybe"}, "label"), ({}, "body"), ({"label": "bot", "x": 1}, "body"), ([], "body")],
)
def test_a_label_that_is_none_changes_nothing(talk: Talk, client: redis.Redis, body: Any, field: str) -> None:
    (response,) = talk(("PUT", "/v1/anomalies/7", body))
    assert response.status_code == 400
    assert response.json()["field"] == field
    assert client.keys("recsys:*") == [KEYS.pseudonyms.encode()]


REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/anomalies", None),
    ("GET", f"/v1/anomalies/{USER}", None),
    ("PUT", f"/v1/anomalies/{USER}", {"label": "bot"}),
    ("DELETE", f"/v1/anomalies/{USER}", None),
]


def sent(settings: Settings, headers: Mapping[str, str]) -> list[httpx.Response]:
    """What is answered to each of `REQUESTS`."""
    return ask(settings, *((*request, headers) for request in REQUESTS))


def test_only_administrators_see_and_decide(settings: Settings, client: redis.Redis) -> None:
    flag_users(client, "bot")
    app: tuple[Scope, ...] = ("recommend", "events", "catalogue")
    tokens = keep(settings.directory / API_KEYS_FILE, ("app", app, 0), ("boss", ["admin"], 0))
    refused = sent(settings, {"X-API-Key": tokens["app"]})
    assert [response.status_code for response in refused] == [403] * 4
    assert [response.status_code for response in sent(settings, {})] == [401] * 4
    assert flagged_users(client, KEYS, NOW) == ["bot"]
    assert client.exists(KEYS.events, KEYS.unflaggable) == 0
    assert not (settings.directory / AUDIT_FILE).exists()
    assert [response.status_code for response in sent(settings, {"X-API-Key": tokens["boss"]})] == [200] * 4


@pytest.mark.parametrize("secret", [None, "a shop's own secret"])
def test_the_audit_log_says_who_did_what_and_to_whom_by_a_hash(
    settings: Settings, client: redis.Redis, secret: str | None
) -> None:
    private = replace(settings, pseudonym_key=secret)
    token = keep(settings.directory / API_KEYS_FILE, ("boss", ["admin"], 0))["boss"]
    answers = sent(private, {"X-API-Key": token})
    assert [response.status_code for response in answers] == [200] * 4
    log = AuditLog(settings.directory)
    text, lines = log.file.read_text(), list(log.lines())
    assert [(line.actor, line.action) for line in lines] == [
        ("boss", "anomalies"),
        ("boss", "anomaly"),
        ("boss", "label"),
        ("boss", "release"),
    ]
    stored = USER if secret is None else pseudonym(secret, USER)
    assert [line.user for line in lines[1:]] == [log.user_hash(stored)] * 3
    assert USER not in text
    assert stored not in text
    if secret is not None:
        kept: Any = client.keys("*")
        assert USER.encode() not in b" ".join(kept)
        assert client.smembers(KEYS.unflaggable) == {stored.encode()}


@pytest.mark.usefixtures("short_periods")
def test_a_redis_that_does_not_answer_is_contents(settings: Settings, client: redis.Redis) -> None:
    del client
    nowhere = replace(settings, redis=replace(settings.redis, url="redis://127.0.0.1:1/0"))
    assert [response.status_code for response in sent(nowhere, {})] == [503] * 4

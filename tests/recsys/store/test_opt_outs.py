"""Users who have opted out, when a version is published."""

from datetime import UTC, datetime

import redis

from recsys.store.keys import ERASURE_FIELD, OPT_OUT_FIELD, Keys
from recsys.store.opt_outs import withhold_lists
from tests.event_stream import append

SINCE = datetime(2026, 3, 1, tzinfo=UTC)
VERSIONS = ("20260301T000000Z", "20260302T000000Z")


def test_lost_opt_outs_come_back_the_later_word_counts_and_no_version_keeps_a_list(
    client: redis.Redis, keys: Keys
) -> None:
    """Users 1 and 2 have opted out by the lake; since its last archive, 2 has opted in, and 3 out."""
    client.hset(keys.versions, mapping=dict.fromkeys(VERSIONS, "1767225600000000"))
    for user in ("1", "2", "3", "4"):
        for version in VERSIONS:
            client.set(keys.user_items(version, user), "a b")
            client.set(keys.history(version, user), "a")
    for user, is_opted_out in (("2", False), ("3", True)):
        change = {"user_id": user, "timestamp": "2026-03-02T00:00:00+00:00", "is_opted_out": is_opted_out}
        append(client, OPT_OUT_FIELD, change)
    append(client, OPT_OUT_FIELD, b"no JSON", {"user_id": "4"})

    append(client, ERASURE_FIELD, {"user_id": "5", "request_id": "r"})

    assert withhold_lists(client, keys, {"1": SINCE, "2": SINCE}, ["6"]) == {"1", "3", "5", "6"}

    since = [client.get(keys.opt_out(user)) for user in ("1", "2", "3", "4")]
    assert since == [b"2026-03-01T00:00:00+00:00", None, b"2026-03-02T00:00:00+00:00", None]
    held = {key for key in client.scan_iter() if key.endswith((b"{1}", b"{3}"))}
    assert held == {keys.opt_out(user).encode() for user in ("1", "3")}
    assert all(client.exists(keys.user_items(version, "2"), keys.history(version, "4")) for version in VERSIONS)

"""The trending list of the live version, renewed between two publishes."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

import polars as pl
import redis

from recsys.errors import StoreError
from recsys.store.connection import store_errors
from recsys.store.encoding import encode
from recsys.store.keys import TRENDING, Keys
from recsys.store.read import live_version

TRIES = 5


def replace_trending(client: redis.Redis, keys: Keys, items: Sequence[str]) -> str:
    """Put `items` in place of the live version's trending list, or remove it where there are none.

    Returns the version. Where another one goes live meanwhile, the list becomes that one's. Raises `StoreError`
    when no version is live.
    """
    with store_errors(client):
        for _ in range(TRIES):
            version = _try_replace(client, keys, items)
            if version is not None:
                return version
    raise StoreError(f"{keys.live}: the live version changed {TRIES} times while its trending list was written")


def _try_replace(client: redis.Redis, keys: Keys, items: Sequence[str]) -> str | None:
    """The version whose list it is now, None where the pointer moved meanwhile."""
    with client.pipeline() as pipeline:
        pipeline.watch(keys.live)
        version = live_version(pipeline, keys)
        key = keys.ranking(version, TRENDING)
        pipeline.multi()
        if items:
            pipeline.set(key, encode(pl.Series([list(items)], dtype=pl.List(pl.String)))[0])
        else:
            pipeline.unlink(key)
        try:
            pipeline.execute()
        except redis.WatchError:
            return None
    return version

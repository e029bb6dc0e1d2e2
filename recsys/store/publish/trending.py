"""The trending list of the live version, renewed between two publishes."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

import polars as pl

from recsys.errors import StoreError
from recsys.store.client.connect import Client, store_errors
from recsys.store.encoding import encode_lists
from recsys.store.keys import TRENDING, Keys
from recsys.store.read import live_version

TRIES = 5


def replace_trending(client: Client, keys: Keys, items: Sequence[str]) -> str:
    """Put `items` in place of the live version's trending list, or remove it where there are none.

    Returns the version. Where another goes live meanwhile, its list is replaced too; the one before keeps what it
    was given, and goes with it. Raises `StoreError` when no version is live.
    """
    with store_errors(client):
        version = live_version(client, keys)
        for _ in range(TRIES):
            key = keys.ranking(version, TRENDING)
            if items:
                client.set(key, encode_lists(pl.Series([list(items)], dtype=pl.List(pl.String)))[0])
            else:
                client.unlink(key)
            written, version = version, live_version(client, keys)
            if version == written:
                return version
    raise StoreError(f"{keys.live}: the live version changed {TRIES} times while its trending list was written")

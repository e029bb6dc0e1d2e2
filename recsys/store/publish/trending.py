"""Update of the trending list of the live version, between two publishes."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

import polars as pl

from recsys.errors import StoreError
from recsys.store.client.connect import Client, store_errors
from recsys.store.encoding import encode_lists
from recsys.store.keys import TRENDING, Keys
from recsys.store.read import live_version

MAX_TRIES = 5


def replace_trending(client: Client, keys: Keys, items: Sequence[str]) -> str:
    """Replace the trending list of the live version by `items`, or remove it if there are none.

    Returns the version. If another version goes live meanwhile, its list is replaced too. Raises `StoreError` if no
    version is live.
    """
    with store_errors(client):
        version = live_version(client, keys)
        for _ in range(MAX_TRIES):
            key = keys.ranking(version, TRENDING)
            if items:
                client.set(key, encode_lists(pl.Series([list(items)], dtype=pl.List(pl.String)))[0])
            else:
                client.unlink(key)
            written, version = version, live_version(client, keys)
            if version == written:
                return version
    raise StoreError(f"{keys.live}: the live version changed {MAX_TRIES} times while its trending list was written")

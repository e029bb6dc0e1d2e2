"""Users who want no personal lists, as servers know them."""

from collections.abc import Iterable
from datetime import datetime

from recsys.store.client.connect import Client, store_errors
from recsys.store.keys import Keys


def put_opt_out(client: Client, keys: Keys, user_id: str, since: datetime) -> None:
    """Give a user popular lists only, and forget the session."""
    with store_errors(client):
        client.set(keys.opt_out(user_id), since.isoformat())
        client.unlink(keys.session(user_id))


def restore_opt_outs(client: Client, keys: Keys, since: Iterable[tuple[str, datetime]]) -> int:
    """Put back the opt-outs that Redis has lost, of users and since when; return how many."""
    with store_errors(client):
        return sum(bool(client.set(keys.opt_out(user), at.isoformat(), nx=True)) for user, at in since)


def remove_opt_out(client: Client, keys: Keys, user_id: str) -> None:
    """Give a user personal lists again."""
    with store_errors(client):
        client.unlink(keys.opt_out(user_id))

import hashlib
import hmac

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys.pseudonyms import key_check, pseudonym, pseudonymize, pseudonymize_users

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_known_pseudonyms() -> None:
    # printf 7 | openssl dgst -sha256 -hmac key
    assert pseudonym("key", "7") == "01235b0d2aa4a5daba7243a9228194c8"
    assert key_check("key") == "9d281bc4774c6a6c"


@given(WORDS, st.lists(st.none() | WORDS, max_size=20))
def test_a_column_s_pseudonyms_are_its_ids_(key: str, ids: list[str | None]) -> None:
    expected = [
        None if each is None else hmac.new(key.encode(), each.encode(), hashlib.sha256).hexdigest()[:32]
        for each in ids
    ]
    assert pseudonymize(pl.Series(ids, dtype=pl.String), key).to_list() == expected


def test_addresses_and_browsers_go_and_nothing_else() -> None:
    rows = pl.DataFrame(
        {"user_id": ["7", None], "ip": ["::1", None], "user_agent": ["x", "y"], "session_id": ["s", "t"]}
    )
    assert pseudonymize_users(rows, "key").rows() == [
        (pseudonym("key", "7"), None, None, "s"),
        (None, None, None, "t"),
    ]
    assert pseudonymize_users(rows, "key").schema == rows.schema
    items = pl.DataFrame({"item_id": ["tea"]})
    assert pseudonymize_users(items, "key").equals(items)

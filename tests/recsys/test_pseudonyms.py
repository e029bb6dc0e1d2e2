import hashlib
import hmac

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import SettingsError
from recsys.pseudonyms import (
    Pseudonyms,
    has_form_of_pseudonym,
    pseudonym,
    pseudonymize,
    pseudonymize_rows,
    replace_ids,
)
from recsys.settings import Settings

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
OLD, NEW = Pseudonyms(("old",)), Pseudonyms(("old", "new"))


def test_known_pseudonyms() -> None:
    # printf 7 | openssl dgst -sha256 -hmac key; printf 'event_id\0007' and so on for the others
    assert pseudonym("key", "7") == "01235b0d2aa4a5daba7243a9228194c8"
    assert Pseudonyms(("key",)).user("7") == pseudonym("key", "7")
    digest = hmac.new(b"key", b"event_id\0" + b"7", hashlib.sha256).hexdigest()
    assert Pseudonyms(("key",)).event("7") == digest[:32]


def test_one_text_has_other_pseudonyms_as_user_event_and_session() -> None:
    made = [OLD.user("7"), OLD.event("7"), OLD.session("7"), NEW.user("7"), NEW.event("7"), NEW.session("7")]
    assert len(set(made)) == 6
    assert all(map(has_form_of_pseudonym, made))
    assert not has_form_of_pseudonym("7")
    assert OLD.fingerprint() not in made[0]


def test_each_key_hashes_what_the_one_before_it_made() -> None:
    assert NEW.count_of(OLD.fingerprint()) == 1
    added = Pseudonyms(NEW.keys[1:])
    for kind in ("user", "event", "session"):
        assert getattr(added, kind)(getattr(OLD, kind)("7")) == getattr(NEW, kind)("7")
    others = (NEW, NEW), (OLD, NEW), (Pseudonyms(("new", "old")), OLD)
    assert [pseudonyms.count_of(other.fingerprint()) for pseudonyms, other in others] == [0, 0, 0]
    rows = pl.DataFrame({"user_id": ["7", None], "event_id": ["7", "8"], "session_id": ["7", "x"], "price": [1, 2]})
    assert replace_ids(replace_ids(rows, OLD), added).equals(replace_ids(rows, NEW))


@given(WORDS, st.lists(st.none() | WORDS, max_size=20))
def test_a_column_s_pseudonyms_are_its_ids_(key: str, ids: list[str | None]) -> None:
    expected = [
        None if each is None else hmac.new(key.encode(), each.encode(), hashlib.sha256).hexdigest()[:32]
        for each in ids
    ]
    assert pseudonymize(pl.Series(ids, dtype=pl.String), Pseudonyms((key,)).user).to_list() == expected


def test_addresses_and_browsers_go_and_nothing_else() -> None:
    rows = pl.DataFrame(
        {"user_id": ["7", None], "ip": ["::1", None], "user_agent": ["x", "y"], "session_id": ["s", "t"]}
    )
    assert pseudonymize_rows(rows, OLD).rows() == [
        (OLD.user("7"), None, None, OLD.session("s")),
        (None, None, None, OLD.session("t")),
    ]
    assert pseudonymize_rows(rows, OLD).schema == rows.schema
    items = pl.DataFrame({"item_id": ["tea"]})
    assert pseudonymize_rows(items, OLD).equals(items)


def test_an_attribute_that_holds_the_id_holds_the_pseudonym() -> None:
    texts = ['{"mail":"ann-smith@shop"}', '{"id":7,"age":27,"no":"7"}', '{"age":27}']
    rows = pl.DataFrame({"user_id": ["ann-smith", "7", None], "attributes": texts})
    ann, seven = OLD.user("ann-smith"), OLD.user("7")
    assert pseudonymize_rows(rows, OLD)["attributes"].to_list() == [
        f'{{"mail":"{ann}@shop"}}',
        f'{{"id":"{seven}","age":27,"no":"{seven}"}}',
        '{"age":27}',
    ]


def test_the_keys_of_settings_are_the_former_ones_first() -> None:
    assert Pseudonyms.from_settings(Settings()) is None
    settings = Settings(pseudonym_key="new", former_pseudonym_keys=("old",))
    assert Pseudonyms.from_settings(settings) == NEW
    assert "old" not in repr(NEW)
    assert "pseudonym_key" not in repr(settings)
    with pytest.raises(SettingsError, match="expected none without a pseudonym_key"):
        Pseudonyms.from_settings(Settings(former_pseudonym_keys=("old",)))

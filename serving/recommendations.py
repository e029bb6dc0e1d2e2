"""What a request for recommendations goes through, stage by stage: pure functions, and the answer they make."""

from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from recsys.schema import ID_LENGTH, USER_ID, is_id
from recsys.store.read import UserItems

DEFAULT_N: Final = 20
MOST_N: Final = 1000
N: Final = "n"
EXPECTED: Final = {
    USER_ID: f"1 to {ID_LENGTH} characters in percent-encoded UTF-8, none white space or a control character",
    N: f"a whole number from 1 to {MOST_N}",
}


class InvalidValueError(Exception):
    """A value of the request is not what was expected."""

    def __init__(self, field: str, value: str) -> None:
        super().__init__(f"{field}: expected {EXPECTED[field]}")
        self.field, self.value = field, value


@dataclass(frozen=True)
class Recommendation:
    """An item and its place in the list, 1 the best."""

    item_id: str
    rank: int


@dataclass(frozen=True)
class Recommendations:
    """The answer: items of one version, from the user's own list or the popular one."""

    user_id: str
    version: str
    source: Literal["personal", "popular"]
    items: list[Recommendation]
    request_id: str


def user_of(raw_path: bytes, prefix: bytes) -> str:
    """The user id that stands percent-encoded behind the prefix of a path, slashes and all.

    >>> user_of(b"/v1/recommendations/a%2Fb", b"/v1/recommendations/")
    'a/b'

    Raises `InvalidValueError` when it is no id.
    """
    encoded = raw_path.partition(prefix)[2].decode("latin-1")
    try:
        user_id = unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        raise InvalidValueError(USER_ID, encoded) from None
    if not is_id(user_id):
        raise InvalidValueError(USER_ID, user_id)
    return user_id


def answer(user_id: str, found: UserItems, n: int, request_id: str) -> Recommendations:
    """The first n items found for a user."""
    items = [Recommendation(item_id, rank) for rank, item_id in enumerate(found.items[:n], 1)]
    return Recommendations(user_id, found.version, found.source, items, request_id)

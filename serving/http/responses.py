"""What routes answer where they do not do what is asked, as the documentation describes it."""

from typing import Any, Final

from litestar.openapi.datastructures import ResponseSpec

from serving.api import AcceptedEvents, Failure, InvalidValue
from serving.intake.events import MAX_BODY_BYTES


def told(content: Any, description: str) -> ResponseSpec:
    """An answer as the documentation has it."""
    return ResponseSpec(content, generate_examples=False, description=description)


INVALID: Final = {400: told(InvalidValue, "A value of the request is not accepted")}
TOO_LONG: Final = {413: told(Failure, f"The body has more than {MAX_BODY_BYTES:,} bytes")}
REFUSED: Final = {
    401: told(Failure, "There are API keys, and the request shows none of them"),
    403: told(Failure, "The API key lacks the scope"),
    429: told(Failure, "Too many requests with this key; `Retry-After` says when to come again"),
}
NOTHING: Final = {503: told(Failure, "Nothing is known at all: not even an older list")}
UNANSWERED: Final = {503: told(Failure, "Redis does not answer; nothing is lost by trying again")}
LISTED: Final = INVALID | REFUSED | NOTHING
TAKEN: Final = {
    400: told(InvalidValue | AcceptedEvents, "The body is not accepted, or each of its events is wrong"),
    429: told(
        AcceptedEvents | Failure,
        "There was no room for some of the events, or too many requests came with this key; `Retry-After` says "
        "when to come again, with all of them",
    ),
}

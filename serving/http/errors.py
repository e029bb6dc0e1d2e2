"""What a caller is told when there is no answer: always JSON, and nothing of Redis' address or of the code."""

import os
import time
import traceback
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import structlog
from litestar.exceptions import HTTPException, ValidationException

from recsys.errors import NothingPublishedError, StoreError
from serving.api import Failure, InvalidValue
from serving.http.auth import AccessError
from serving.http.query import EXPECTED, InvalidValueError

REQUEST_ID_HEADER: Final = "X-Request-ID"
RETRY_AFTER_SECONDS: Final = 2
SHOWN_CHARACTERS: Final = 200
REDACTED: Final = "(not shown)"
BODY_PARAMETER: Final = "data"
"""What the framework calls the body."""
LOG_SECONDS: Final = 10.0

_PROCESS: Final = os.urandom(8).hex()
_NUMBERS: Final = count()

Told = tuple[int, InvalidValue | Failure, Mapping[str, str]]

log = structlog.get_logger()


class Outage:
    """Logs that requests stay without an answer: the first time, then with how many more every `LOG_SECONDS`."""

    def __init__(self) -> None:
        self._unlogged = 0
        self._logged_at = -LOG_SECONDS

    def note(self, reason: str) -> None:
        """One more request without an answer."""
        self._unlogged += 1
        if time.monotonic() - self._logged_at >= LOG_SECONDS:
            log.warning("requests without an answer", count=self._unlogged, reason=reason)
            self._unlogged, self._logged_at = 0, time.monotonic()


def new_request_id() -> str:
    """An id that no other request has: random for the process, then counted, which asks nothing of the system."""
    return f"{_PROCESS}{next(_NUMBERS):016x}"


def told(error: Exception, query: Mapping[str, Any], request_id: str, outage: Outage) -> Told:
    """Status, content and headers for what went wrong; `query` has the parameters of the request."""
    match error:
        case InvalidValueError():
            content = InvalidValue(error.field, error.value[:SHOWN_CHARACTERS], error.expected, request_id)
            return 400, content, {}
        case AccessError():
            return error.status, Failure(error.message, request_id), error.headers
        case NothingPublishedError():
            outage.note(str(error))
            return _unavailable(str(error), request_id)
        case StoreError():
            outage.note(str(error))
            return _unavailable("Redis does not answer", request_id)
        case ValidationException():
            return 400, _unreadable(error, query, request_id), {}
        case HTTPException(status_code=400) | RecursionError():  # JSON that goes too deep is what recurses here
            return 400, InvalidValue("body", REDACTED, EXPECTED["body"], request_id), {}
        case HTTPException() if error.status_code < 500:
            return error.status_code, Failure(error.detail, request_id), error.headers or {}
        case _:
            # The place without values, which may be a user's.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("request failed", error=type(error).__name__, place=place, request_id=request_id)
            return 500, Failure("internal error", request_id), {}


def _unavailable(reason: str, request_id: str) -> Told:
    return 503, Failure(reason, request_id), {"Retry-After": str(RETRY_AFTER_SECONDS)}


def _unreadable(error: ValidationException, query: Mapping[str, Any], request_id: str) -> InvalidValue:
    """What the framework found: a parameter without the declared type or range, a body not as described."""
    details: Any = error.extra or [{}]
    first: dict[str, Any] = details[0] if isinstance(details, list) else {}
    name = str(first.get("key") or "body")
    if name in query:
        value = query[name]
        value = value[-1] if isinstance(value, list) else value
        return InvalidValue(name, str(value)[:SHOWN_CHARACTERS], EXPECTED.get(name, "another value"), request_id)
    problem = str(first.get("message") or "")
    if name == BODY_PARAMETER:
        # Of a body: nothing at all, or what is wrong and where, as in "Expected `int` - at `$.n`".
        problem, _, place = problem.partition(" - at `$.")
        name = place.rstrip("`") or "body"
    expected = problem if " " in problem else EXPECTED["body"]
    return InvalidValue(name, REDACTED, expected[:SHOWN_CHARACTERS], request_id)

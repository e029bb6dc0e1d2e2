"""What a caller is told when there is no answer: always JSON, and nothing of Redis' address or of the code."""

import time
import traceback
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from recsys.errors import NothingPublishedError, StoreError
from serving.recommendations import EXPECTED, InvalidValueError, N

REQUEST_ID_HEADER: Final = "X-Request-ID"
RETRY_AFTER_SECONDS: Final = 2
SHOWN_CHARACTERS: Final = 200
LOG_SECONDS: Final = 10.0

AnyRequest = Request[Any, Any, Any]

log = structlog.get_logger()


@dataclass(frozen=True)
class Invalid:
    """Which value of the request is not accepted, and what would be."""

    field: str
    value: str
    expected: str
    request_id: str


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    error: str
    request_id: str


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


def request_id_of(request: AnyRequest) -> str:
    """The id of a request, made when it is first asked for."""
    return request.scope.setdefault("state", {}).setdefault("request_id", uuid4().hex)


def invalid(request: AnyRequest, error: InvalidValueError) -> Response[Any]:
    """400: a value of the request is not accepted."""
    request_id = request_id_of(request)
    content = Invalid(error.field, error.value[:SHOWN_CHARACTERS], EXPECTED[error.field], request_id)
    return _response(request, content, 400, {})


def unreadable(request: AnyRequest, error: ValidationException) -> Response[Any]:  # noqa: ARG001
    """400: the one parameter with a declared type and range, `n`, does not have them."""
    return invalid(request, InvalidValueError(N, request.query_params[N]))


def unavailable(request: AnyRequest, error: StoreError) -> Response[Any]:
    """503: Redis does not answer, or has nothing published; where it is and what it said is for the log alone."""
    request.app.state.outage.note(str(error))
    reason = str(error) if isinstance(error, NothingPublishedError) else "Redis does not answer"
    return _failure(request, reason, 503, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def refused(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What the framework refuses: a route or a method that is not there."""
    if error.status_code >= 500:
        return broken(request, error)
    return _failure(request, error.detail, error.status_code, error.headers or {})


def broken(request: AnyRequest, error: Exception) -> Response[Any]:
    """500: a mistake of the code; the log has its place, without values, which may be a user's."""
    place = "".join(traceback.format_tb(error.__traceback__))
    log.error("request failed", error=type(error).__name__, place=place, request_id=request_id_of(request))
    return _failure(request, "internal error", 500, {})


def _failure(request: AnyRequest, reason: str, status: int, headers: dict[str, str]) -> Response[Any]:
    return _response(request, Failure(reason, request_id_of(request)), status, headers)


def _response(
    request: AnyRequest, content: Invalid | Failure, status: int, headers: dict[str, str]
) -> Response[Any]:
    named = {**headers, REQUEST_ID_HEADER: request_id_of(request)}
    return Response(content, status_code=status, headers=named, media_type="application/json")

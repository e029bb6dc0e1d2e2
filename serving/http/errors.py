"""Responses to failed requests: always JSON, without the address of Redis or details of the code."""

import time
import traceback
from collections.abc import Mapping
from typing import Final

import structlog
from litestar.exceptions import HTTPException

from recsys.errors import AuditError, NothingPublishedError, StoreError
from serving.api import Failure, InvalidValue
from serving.engine.pseudonym_key import PseudonymKeyError
from serving.http.auth import AccessError
from serving.intake.items import ItemLimitError
from serving.requests import EXPECTED, MAX_SHOWN_LENGTH, REDACTED, InvalidValueError

REQUEST_ID_HEADER: Final = "X-Request-ID"
RETRY_AFTER_SECONDS: Final = 2
FULL_RETRY_SECONDS: Final = 3_600
"""Room for more items comes with a publish."""
LOG_SECONDS: Final = 10.0

ErrorResponse = tuple[int, InvalidValue | Failure, Mapping[str, str]]
"""Status, content and headers."""

log = structlog.get_logger()


class OutageLog:
    """A log of requests without an answer: logs the first, then a count every `LOG_SECONDS`."""

    def __init__(self) -> None:
        self._unlogged = 0
        self._logged_at = -LOG_SECONDS

    def add(self, reason: str) -> None:
        """Count one more request without an answer."""
        self._unlogged += 1
        if time.monotonic() - self._logged_at >= LOG_SECONDS:
            log.warning("requests without an answer", count=self._unlogged, reason=reason)
            self._unlogged, self._logged_at = 0, time.monotonic()


def error_response(error: Exception, request_id: str, outage_log: OutageLog) -> ErrorResponse:
    """Return the response to a request that raised an error."""
    match error:
        case InvalidValueError():
            value = error.value[:MAX_SHOWN_LENGTH]
            return 400, InvalidValue(error.field, value, error.expected, request_id), {}
        case AccessError():
            return error.status, Failure(error.message, request_id), error.headers
        case ItemLimitError():
            return 429, Failure(str(error), request_id), {"Retry-After": str(FULL_RETRY_SECONDS)}
        case NothingPublishedError():
            outage_log.add(str(error))
            return _unavailable(str(error), request_id)
        case PseudonymKeyError():
            outage_log.add(str(error))
            return _unavailable(str(error), request_id)
        case StoreError():
            outage_log.add(str(error))
            return _unavailable("Redis does not answer", request_id)
        case AuditError():
            log.error("the audit log cannot be written: nothing was done", reason=str(error), request_id=request_id)
            return _unavailable("the audit log cannot be written", request_id)
        case HTTPException(status_code=400):
            return 400, InvalidValue("body", REDACTED, EXPECTED["body"], request_id), {}
        case HTTPException() if error.status_code < 500:
            return error.status_code, Failure(error.detail, request_id), error.headers or {}
        case _:
            # The traceback without values, which may name a user.
            place = "".join(traceback.format_tb(error.__traceback__))
            log.error("request failed", error=type(error).__name__, place=place, request_id=request_id)
            return 500, Failure("internal error", request_id), {}


def _unavailable(reason: str, request_id: str) -> ErrorResponse:
    return 503, Failure(reason, request_id), {"Retry-After": str(RETRY_AFTER_SECONDS)}

"""Read the bodies of requests: whole ones only, of limited size, in limited time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar.exceptions import HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from serving.http.client_address import Headers
from serving.intake.events import MAX_BODY_BYTES
from serving.requests import REDACTED, InvalidValueError

BODY_SECONDS: Final = 10.0
STOPPING_SECONDS: Final = 0.5
"""The same for a server that stops: enough for what is on its way inside the machine."""

MAX_RECEIVED_BYTES: Final = 10 * MAX_BODY_BYTES

Receive = Callable[[], Awaitable[Any]]
"""Returns the next ASGI message of a request."""


class BodyReader:
    """Reads the bodies of requests, until the server stops."""

    def __init__(self) -> None:
        self._seconds = BODY_SECONDS
        self._timeouts: set[asyncio.Timeout] = set()
        """Those of the bodies that are being read."""

    async def read(self, receive: Receive, headers: Headers) -> bytes:
        """Return the whole body of a request.

        Raises `RequestEntityTooLarge` before it takes more memory than it may, `HTTPException` of status 408 if it
        takes too long, and `InvalidValueError` if the connection ends before the body does.
        """
        timeout = asyncio.timeout(self._seconds)
        self._timeouts.add(timeout)
        try:
            async with timeout:
                body, is_whole = await _receive_all(receive)
        except TimeoutError:
            raise HTTPException("the body did not arrive in time", status_code=408) from None
        finally:
            self._timeouts.discard(timeout)
        announced = next((value for name, value in headers if name == b"content-length"), None)
        if not is_whole or (announced is not None and announced != str(len(body)).encode()):
            raise InvalidValueError("body", REDACTED, "a whole body, as long as Content-Length says")
        return body

    def stop(self) -> None:
        """Stop to wait for bodies: requests fail whose bodies do not arrive within `STOPPING_SECONDS`."""
        self._seconds = STOPPING_SECONDS
        end = asyncio.get_running_loop().time() + STOPPING_SECONDS
        for timeout in self._timeouts:
            timeout.reschedule(min(end, timeout.when() or end))


async def _receive_all(receive: Receive) -> tuple[bytes, bool]:
    """Return what a client sends, and whether it sent all of it.

    A body that is too long is received up to `MAX_RECEIVED_BYTES` and forgotten: many clients read no answer before
    they have sent all.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"", False
        part: bytes = message.get("body", b"")
        size += len(part)
        is_last = not message.get("more_body", False)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        else:
            parts.clear()
            if is_last or size > MAX_RECEIVED_BYTES:
                raise RequestEntityTooLarge
        if is_last:
            return b"".join(parts), True

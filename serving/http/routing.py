"""A route, its call and its result, which the fast path, the framework and the documentation share."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from recsys.api_keys import ApiKey, Scope
from recsys.audit.chain import Actor
from serving.http.auth import Headers
from serving.http.query import check_names, parse_id, parse_query
from serving.http.worker import Worker
from serving.requests import MAX_SHOWN_LENGTH, REDACTED, InvalidValueError

JSON: Final = "application/json"

Method = Literal["GET", "POST", "PUT", "DELETE"]
Body = TypeVar("Body")


@dataclass(slots=True)
class Call:
    """A request as the handler of its route receives it."""

    worker: Worker
    encoded_id: bytes
    """The percent-encoded id at the end of the path; empty if the route has none."""
    query: bytes
    headers: Headers
    request_id: str
    peer: str
    """The address that the request comes from."""
    body: bytes = b""
    key: ApiKey | None = None
    """The key of the request; None if the server has no keys."""

    def check_key(self, scope: Scope) -> None:
        """Remember the key of the request; raises `AccessError` unless it has the scope."""
        self.key = self.worker.access.check(self.headers, scope)

    async def audit(
        self, action: str, *, user_id: str | None = None, subject: str | None = None, detail: str | None = None
    ) -> None:
        """Add what is about to be done to the audit log; raises `AuditError` if that cannot be written."""
        actor = Actor("http", None if self.key is None else self.key.name, self.peer, self.request_id)
        stored_id = None if user_id is None else self.worker.stored_id(user_id)
        await self.worker.audit(actor, action, user_id=stored_id, subject=subject, detail=detail)

    def path_id(self, name: str) -> str:
        """Return the id at the end of the path; raises `InvalidValueError`."""
        return parse_id(self.encoded_id, name)

    def decode_body(self, body_type: type[Body]) -> Body:
        """Return the JSON body as a struct; raises `InvalidValueError`."""
        try:
            self.body.decode()
        except UnicodeDecodeError:
            raise InvalidValueError("body", REDACTED, "JSON in UTF-8") from None
        try:
            return msgspec.convert(msgspec.json.decode(self.body), body_type, strict=False)
        except msgspec.ValidationError as error:
            # As in "Expected `int` - at `$.n`".
            problem, _, place = str(error).partition(" - at `$.")
            raise InvalidValueError(place.rstrip("`") or "body", REDACTED, problem[:MAX_SHOWN_LENGTH]) from None
        except (msgspec.DecodeError, RecursionError):  # JSON that is nested too deeply
            raise InvalidValueError("body", REDACTED) from None


def peer_of(scope: Mapping[str, Any]) -> str:
    """Return the address that a request comes from; empty if the server does not know."""
    client = scope.get("client")
    return client[0] if client else ""


class Result(Struct):
    """The answer to a call: a struct, or bytes of the media type of the route."""

    content: Any
    status: int | None = None
    """The status of the response; None means the status of the route's success."""
    headers: Mapping[str, str] = {}
    after_send: Callable[[], None] | None = None
    """Work that the client does not wait for."""


@dataclass(frozen=True)
class Response:
    """A possible answer of a route, as the documentation describes it."""

    content: Any
    """Type of the body; None if it is empty."""
    description: str


@dataclass(frozen=True)
class Route:
    """One operation of the server: its path, its scope, its handler, and its answers."""

    method: Method
    path: str
    """As in the documentation; it may end with an id, as in `{user_id}`."""
    scope: Scope | None
    """The scope that a key must have; None if no key is needed."""
    handler: Callable[[Call], Awaitable[Result]]
    tag: str
    summary: str
    answer: Response
    """The answer of a success."""
    status: int = 200
    errors: Mapping[int, Response] = field(default_factory=dict[int, Response])
    query: type[Struct] | None = None
    """Struct whose fields are the parameters of the query string."""
    required: tuple[str, ...] = ()
    """Names of the required parameters."""
    body: Any = None
    """Type of the JSON body."""
    media_type: str = JSON
    is_fast: bool = False
    """Whether calls bypass the framework, whose overhead exceeds the work of the answer itself."""
    handler_checks_key: bool = False
    """Whether the handler checks the key itself, because the scope depends on the parameters."""

    @property
    def name(self) -> str:
        """Return the name of the operation."""
        return self.handler.__name__

    @property
    def id_name(self) -> str | None:
        """Return the name of the id at the end of the path; None if there is none."""
        return self.path.partition("{")[2].rstrip("}") or None

    @property
    def prefix(self) -> str:
        """Return the path up to its id."""
        return self.path.partition("{")[0]

    async def run(self, call: Call, read_body: Callable[[], Awaitable[bytes]]) -> Result:
        """Check the key of a call, read its body, and handle it."""
        if self.scope is not None and not self.handler_checks_key:
            call.check_key(self.scope)
        if call.query and self.query is None and self.scope is not None:
            check_names(parse_query(call.query), None)
        if self.body is not None:
            call.body = await read_body()
        return await self.handler(call)

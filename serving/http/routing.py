"""A route, its call and its result, which the fast path, the framework and the documentation share."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, TypeVar

import msgspec
from litestar.exceptions import HTTPException
from msgspec import Struct

from recsys.api_keys import ApiKey, Scope
from recsys.audit.chain import Action, Actor
from recsys.pseudonyms import has_form_of_pseudonym
from recsys.schema import USER_ID
from serving.http.auth import AccessError
from serving.http.client_address import Headers
from serving.http.query import check_names, parse_id, parse_query, parse_user_reference
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
    """The address of the connection; empty if it has none."""
    body: bytes = b""
    key: ApiKey | None = None
    """The key of the request; None if the server has no keys."""

    def check_key(self, scopes: Sequence[Scope]) -> None:
        """Remember the key of the request; raises `AccessError` unless it has one of the scopes."""
        self.key = self.worker.access.check(self.headers, self.peer, scopes)

    def check_scope(self, scope: Scope) -> None:
        """Raise `AccessError` unless the key of the request has a scope."""
        if self.key is not None and not self.key.allows(scope):
            raise AccessError(403, f"the API key lacks the scope {scope}", {})

    @property
    def needs_public_key(self) -> bool:
        """Return whether the route is not for everybody who can reach the server."""
        worker = self.worker
        return worker.is_public and worker.addresses.find(self.peer, self.headers) not in worker.metrics_networks

    @property
    def has_quota(self) -> bool:
        """Return whether the key of the request has a quota."""
        return self.key is not None and self.key.requests_per_minute > 0

    async def take_quota(self, cost: int) -> None:
        """Count so many requests against the quota of the key, if it has one; raises `AccessError`."""
        if self.key is not None and self.key.requests_per_minute:
            await self.worker.quotas.take(self.key, cost)

    async def take_batch_quota(self, field: str, size: int) -> None:
        """Count the rows of a batch as requests, the first of which is counted already.

        Raises `AccessError`, or `InvalidValueError` naming the field if the batch is larger than the quota.
        """
        quota = self.key.requests_per_minute if self.key is not None else 0
        if quota and size > quota:
            raise InvalidValueError(field, str(size), f"at most {quota}, the requests a minute of the API key")
        if size > 1:
            await self.take_quota(size - 1)

    def check_content_type(self) -> None:
        """Raise `HTTPException` of status 415 unless the body says that it is JSON.

        Browsers send JSON of other pages only after asking the server, which does not allow it.
        """
        types = [value for name, value in self.headers if name == b"content-type"]
        if [value.partition(b";")[0].strip().lower() for value in types] != [JSON.encode()]:
            raise HTTPException("the body must be application/json", status_code=415)

    async def audit(
        self, action: str, *, stored_id: str | None = None, subject: str | None = None, detail: str | None = None
    ) -> None:
        """Add what is about to be done to the audit log; raises `AuditError` if that cannot be written."""
        address = self.worker.addresses.find(self.peer, self.headers)
        actor = Actor("http", None if self.key is None else self.key.name, address, self.request_id)
        await self.worker.audit_writer.add(Action(actor, action, stored_id, subject, detail))

    def path_user(self) -> tuple[str, str]:
        """Return the user at the end of the path, as given and as stored; raises `InvalidValueError`.

        With `pseudonym=1` in the query string, the user is given by the stored id.
        """
        user_id = self.path_id(USER_ID)
        if not parse_user_reference(self.query).pseudonym:
            return user_id, self.worker.stored_id(user_id)
        if self.worker.pseudonyms is None:
            raise InvalidValueError("pseudonym", "1", "0: this server has no pseudonym_key")
        if not has_form_of_pseudonym(user_id):
            raise InvalidValueError(USER_ID, user_id, "a pseudonym of 32 hexadecimal digits")
        return user_id, user_id

    def path_id(self, name: str) -> str:
        """Return the id at the end of the path; raises `InvalidValueError`."""
        return parse_id(self.encoded_id, name)

    def decode_body(self, body_type: type[Body], strict: bool = False) -> Body:
        """Return the JSON body as a struct; raises `InvalidValueError`.

        With `strict`, a value has its own type: no number in a text, and no time as a number.
        """
        try:
            self.body.decode()
        except UnicodeDecodeError:
            raise InvalidValueError("body", REDACTED, "JSON in UTF-8") from None
        try:
            return msgspec.convert(msgspec.json.decode(self.body), body_type, strict=strict)
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
    other_scope: Scope | None = None
    """A scope that some parameters need in place of `scope`; the handler checks which."""
    public_scope: Scope | None = None
    """The scope that a route without `scope` needs where other machines can reach the server."""
    is_probe: bool = False
    """Whether any host name may be used, as probes do that call by an address."""

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

    @cached_property
    def scopes(self) -> tuple[Scope, ...]:
        """Return the scopes one of which a key must have; empty if no key is needed."""
        return tuple(scope for scope in (self.scope, self.other_scope) if scope is not None)

    async def run(self, call: Call, read_body: Callable[[], Awaitable[bytes]]) -> Result:
        """Check the host and the key of a call, read its body, and handle it."""
        if not self.is_probe:
            call.worker.hosts.check(call.headers)
        if self.scopes:
            call.check_key(self.scopes)
            if call.has_quota:
                await call.take_quota(1)
        elif self.public_scope is not None and call.needs_public_key:
            call.check_key((self.public_scope,))
        if call.query and self.query is None and self.scope is not None:
            check_names(parse_query(call.query), None)
        if self.body is not None:
            call.check_content_type()
            call.body = await read_body()
        return await self.handler(call)

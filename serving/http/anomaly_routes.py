"""The routes by which administrators see who is held back, and decide otherwise."""

from typing import Annotated, Final

from litestar import Response, delete, get, put
from litestar.params import JSONBody, Parameter
from msgspec import Struct

from recsys.schema import USER_ID
from recsys.store.flags import Label
from serving.api import Anomalies, Anomaly, UserLabel
from serving.http.parameters import Offset, UserId
from serving.http.query import parse_id
from serving.http.requests import AnyRequest, answer, needs, note, request_id_of, worker_of
from serving.http.responses import INVALID, REFUSED, TOO_LONG, UNANSWERED

ANOMALIES: Final = ["Anomalies"]
PATH: Final = b"/v1/anomalies/"
DEFAULT_LISTED: Final = 100
MAX_LISTED: Final = 1_000
Count = Annotated[int, Parameter(ge=1, le=MAX_LISTED, description=f"Most users to list, up to {MAX_LISTED:,}")]


class LabelRequest(Struct, forbid_unknown_fields=True):
    """What an analyst says of a user: `bot`, held back from now on, or `fine`, released and never flagged again."""

    label: Label


@get(
    "/v1/anomalies",
    summary="Who is held back",
    response_description="Users, those held back longest first",
    responses=INVALID | REFUSED | UNANSWERED,
    tags=ANOMALIES,
    guards=[needs("admin")],
)
async def anomalies(request: AnyRequest, n: Count = DEFAULT_LISTED, offset: Offset = 0) -> Response[Anomalies]:
    """Users with their flags: score, reasons, end. Needs the scope admin, and is noted in the audit log."""
    request_id = request_id_of(request)
    note(request, "anomalies", "")
    total, flags = await worker_of(request).flags.list(n, offset)
    return answer(Anomalies(request_id, total, flags), request_id)


@get(
    "/v1/anomalies/{user_id:path}",
    summary="Why a user is held back",
    response_description="The user's flag, null where there is none",
    responses=INVALID | REFUSED | UNANSWERED,
    tags=ANOMALIES,
    guards=[needs("admin")],
)
async def anomaly(request: AnyRequest, user_id: UserId) -> Response[Anomaly]:
    """Flag and whether an analyst has released the user. Needs the scope admin, and is noted in the audit log."""
    del user_id
    worker, request_id = worker_of(request), request_id_of(request)
    wanted = parse_id(request.scope["raw_path"], PATH, USER_ID)
    note(request, "anomaly", wanted)
    flag, released = await worker.flags.read(worker.stored_id(wanted))
    return answer(Anomaly(wanted, request_id, flag, released), request_id)


@delete(
    "/v1/anomalies/{user_id:path}",
    status_code=200,
    summary="Release a user",
    response_description="The user is held back no longer",
    responses=INVALID | REFUSED | UNANSWERED,
    tags=ANOMALIES,
    guards=[needs("admin")],
)
async def release(request: AnyRequest, user_id: UserId) -> Response[UserLabel]:
    """The flag goes, and the user is never flagged automatically again. Needs the scope admin, and is noted in the
    audit log.
    """
    del user_id
    return await _labelled(request, "release", "fine")


@put(
    "/v1/anomalies/{user_id:path}",
    status_code=200,
    summary="Say what a user is",
    response_description="The label holds at once, and is kept",
    responses=INVALID | REFUSED | UNANSWERED | TOO_LONG,
    tags=ANOMALIES,
    guards=[needs("admin")],
)
async def label(request: AnyRequest, user_id: UserId, data: JSONBody[LabelRequest]) -> Response[UserLabel]:
    """A bot is held back at once, who is fine is released. Needs the scope admin, and is noted in the audit log."""
    del user_id
    return await _labelled(request, "label", data.label)


HANDLERS: Final = (anomalies, anomaly, release, label)


async def _labelled(request: AnyRequest, action: str, given: Label) -> Response[UserLabel]:
    worker, request_id = worker_of(request), request_id_of(request)
    user_id = parse_id(request.scope["raw_path"], PATH, USER_ID)
    note(request, action, user_id)
    await worker.flags.label(worker.stored_id(user_id), given)
    return answer(UserLabel(user_id, request_id, given), request_id)

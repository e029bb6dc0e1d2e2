"""The handlers of the routes under /v1/anomalies: administrators see flagged users, and release or label users."""

from msgspec import Struct

from recsys.schema import FINE
from recsys.store.flags import Label
from serving.api import Anomalies, Anomaly, UserLabel
from serving.http.query import parse_page_request
from serving.http.routing import Call, Result


class LabelRequest(Struct, forbid_unknown_fields=True):
    """An analyst's label of a user: `bot`, flagged from now on, or `fine`, released and never flagged again."""

    label: Label


async def anomalies(call: Call) -> Result:
    """Return flagged users with score, reasons and end; this is noted in the audit log."""
    page = parse_page_request(call.query)
    await call.audit("anomalies")
    total, flags = await call.worker.flags.list(page.n, page.offset)
    return Result(Anomalies(call.request_id, total, flags))


async def anomaly(call: Call) -> Result:
    """Return a user's flag, and whether an analyst has released the user; this is noted in the audit log."""
    user_id, stored_id = call.path_user()
    await call.audit("anomaly", stored_id=stored_id)
    flag, is_released = await call.worker.flags.read(stored_id)
    return Result(Anomaly(user_id, call.request_id, flag, is_released))


async def release(call: Call) -> Result:
    """Remove a user's flag, so that the user is never flagged automatically again; noted in the audit log."""
    return await _label(call, "release", FINE)


async def label(call: Call) -> Result:
    """Flag a user who is a bot at once, or release one who is fine; this is noted in the audit log."""
    return await _label(call, "label", call.decode_body(LabelRequest).label)


async def _label(call: Call, action: str, new_label: Label) -> Result:
    user_id, stored_id = call.path_user()
    await call.audit(action, stored_id=stored_id, detail=new_label)
    await call.worker.flags.label(stored_id, new_label)
    return Result(UserLabel(user_id, call.request_id, new_label))

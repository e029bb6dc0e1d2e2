"""The handlers of what users may ask for: to be erased, and to opt out of personal lists."""

from msgspec import Struct

from serving.api import Consent, ErasedUser
from serving.http.routing import Call, Result


class ConsentRequest(Struct, forbid_unknown_fields=True):
    """Whether a user wants personal lists; without them, no event of the user is taken."""

    personal_lists: bool


async def erase(call: Call) -> Result:
    """Erase a user from Redis at once, and from the lake by the next archive; this is noted in the audit log.

    What comes later under the id is of a new person.
    """
    user_id, stored_id = call.path_user()
    await call.audit("erase", stored_id=stored_id)
    await call.worker.user_requests.erase(stored_id, call.request_id)
    return Result(ErasedUser(user_id, call.request_id))


async def consent(call: Call) -> Result:
    """Return whether a user wants personal lists; this is noted in the audit log."""
    await call.audit("consent", stored_id=call.path_user()[1])
    return await _answer(call)


async def give_consent(call: Call) -> Result:
    """Give a user personal lists, or popular ones only; a refusal is kept when the user is erased."""
    (_, stored_id), is_wanted = call.path_user(), call.decode_body(ConsentRequest).personal_lists
    requests = call.worker.user_requests
    await call.audit("opt_in" if is_wanted else "opt_out", stored_id=stored_id)
    await (requests.opt_in(stored_id) if is_wanted else requests.opt_out(stored_id))
    return await _answer(call)


async def _answer(call: Call) -> Result:
    user_id, stored_id = call.path_user()
    since = await call.worker.user_requests.opted_out_since(stored_id)
    return Result(Consent(user_id, call.request_id, since is None, since))

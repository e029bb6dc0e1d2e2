"""All that is said against a user, and for one."""

from dataclasses import dataclass

from jobs.pipeline.steps.screen import find_latest_screening
from jobs.pipeline.steps.screening_summary import find_suspect
from recsys.evaluation.report.contents import Suspect
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.flags import Flag, is_released, read_flag
from recsys.store.keys import Keys


@dataclass(frozen=True)
class UserExplanation:
    """Why a user is held back now, and what the latest nightly run that looked says of the user."""

    user_id: str
    """As it is stored: a pseudonym, where there is a key for it."""
    flag: Flag | None
    """None where the user is not held back."""
    released: bool
    """Whether an analyst has released the user, who is never flagged automatically then."""
    run: str | None
    """None where no run has looked yet."""
    nightly: Suspect | None
    """None where the run wrote nothing down of the user."""


def explain_user(settings: Settings, user_id: str) -> UserExplanation:
    """What is known of a user, by the id that is stored; raises `StoreError`."""
    client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
    flag, released = read_flag(client, keys, user_id), is_released(client, keys, user_id)
    run = find_latest_screening(settings.directory)
    if run is None:
        return UserExplanation(user_id, flag, released, None, None)
    return UserExplanation(user_id, flag, released, run.id, find_suspect(run, user_id))

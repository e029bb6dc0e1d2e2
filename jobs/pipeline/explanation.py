"""Explain why a user is flagged or not, by the flag in Redis, the analyst's release and the latest nightly run."""

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
    """The current flag of a user, and what the latest nightly screening reports of the user."""

    user_id: str
    """The stored id: a pseudonym, if a pseudonym key is set."""
    flag: Flag | None
    """None if the user is not flagged."""
    released: bool
    """Whether an analyst has released the user, who is then never flagged automatically."""
    run: str | None
    """None before the first run with a screen step."""
    nightly: Suspect | None
    """None if the run does not report the user."""


def explain_user(settings: Settings, user_id: str) -> UserExplanation:
    """Return the explanation for a user, by the stored id; raises `StoreError`."""
    client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
    flag, released = read_flag(client, keys, user_id), is_released(client, keys, user_id)
    run = find_latest_screening(settings.directory)
    if run is None:
        return UserExplanation(user_id, flag, released, None, None)
    return UserExplanation(user_id, flag, released, run.id, find_suspect(run, user_id))

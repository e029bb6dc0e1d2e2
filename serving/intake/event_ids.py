"""The ids that clients give to events: a user's id names one event, whoever sends it and how often."""

from collections.abc import Sequence
from typing import Final

from recsys.store.keys import Keys
from serving.api import RowError
from serving.guard.counters import KeyedCommand
from serving.intake.event_parsing import ValidRow
from serving.requests import MAX_SHOWN_LENGTH

EVENT_ID_DAYS: Final = 2
"""Days after which Redis forgets the ids of a user; the archive compares them with all events of the lake."""
MAX_EVENT_IDS: Final = 1_000
REUSED_ID: Final = "an id that no other event of the user has"
NEW, SAME, OTHER = range(3)  # outcomes

# Registers ids with the checksums of their events; replies for each whether it is new, the same or another event.
REGISTER: Final = """
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then redis.call('UNLINK', KEYS[1]) end
local replies = {}
for place = 3, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[place])
  if not known then redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1]) end
  replies[#replies + 1] = not known and 0 or (known == ARGV[place + 1] and 1 or 2)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return replies
"""


def register_ids(keys: Keys, rows: Sequence[ValidRow]) -> KeyedCommand:
    """Return the command that registers the ids of some events of one user; it replies with an outcome for each."""
    key = keys.event_ids(str(rows[0].event.user_id))
    given = [text for row in rows for text in (str(row.event.event_id), str(row.checksum))]
    return key, ("EVAL", REGISTER, 1, key, MAX_EVENT_IDS, EVENT_ID_DAYS * 86_400_000, *given)


def reused_id_error(row: ValidRow) -> RowError:
    """Return the error of an event whose id another event of the user has."""
    return RowError(row.number, "event_id", str(row.given_id)[:MAX_SHOWN_LENGTH], REUSED_ID)

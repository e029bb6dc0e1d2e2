"""Receipts of erasures: what was erased, where and when, signed with the key of the lake.

A receipt names persons by keyed hashes only. It stays pending until a nightly run has computed the lists of all
users without the persons.
"""

import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog

from jobs.lake.erasure_requests import RECEIPTS, receipt_file
from jobs.lake.lake import Lake
from jobs.lake.tombstones import erasures_directory, make_key, read_key, subject
from recsys.errors import StateError
from recsys.files import flush, load_json, write_json

SIGNATURE: Final = "signature"
NEXT_NIGHT: Final = "lists of all users: the next published nightly run computes them without the persons"
REDIS_FILES: Final = (
    "files of the Redis server, which does not let this user write them anew: its next snapshot replaces them"
)


log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Receipt:
    """A receipt of an erasure."""

    id: str
    requested_at: datetime
    finished_at: datetime
    subjects: tuple[str, ...]
    """Keyed hashes of the users who were named."""
    guests: int
    """Guests who were the same persons, and erased with them."""
    is_forever: bool
    counts: Mapping[str, int]
    """Place -> rows, keys or files that were erased there."""
    found_again: Mapping[str, int]
    """Place -> what a second scan found there; empty."""
    pending: tuple[str, ...]
    """What only later work can do."""
    closed_by: str | None = None
    """The run that did what was pending."""
    closed_at: datetime | None = None

    @property
    def is_pending(self) -> bool:
        """Return whether something is left to do."""
        return bool(self.pending) and self.closed_by is None


def write_receipt(lake: Lake, receipt: Receipt) -> Path:
    """Sign and write a receipt; the lake must be locked. Returns its file."""
    values = json.loads(json.dumps(asdict(receipt), default=str))
    file = receipt_file(lake.directory, receipt.id)
    write_json(file, {**values, SIGNATURE: _sign(make_key(lake.directory), values)})
    flush([file])
    return file


def read_receipt(lake: Lake, file: Path) -> Receipt:
    """Read a receipt; raises `StateError` if it was changed, or signed with another key."""
    values: dict[str, Any] = load_json(file, dict, "it is no receipt")
    signature = str(values.pop(SIGNATURE, ""))
    key = read_key(lake.directory)
    if key is None or not hmac.compare_digest(signature, _sign(key, values)):
        raise StateError(f"{file}: the signature is wrong: the receipt was changed, or signed with another key")
    return _receipt(values)


def read_receipts(lake: Lake) -> Iterator[Receipt]:
    """Yield all receipts of a lake, the oldest first; a changed or damaged one is logged and left out."""
    for file in sorted((erasures_directory(lake.directory) / RECEIPTS).glob("[!.]*.json")):
        try:
            yield read_receipt(lake, file)
        except StateError as error:
            log.warning("a receipt of an erasure is not valid", reason=str(error))


def close_receipts(lake: Lake, run_id: str, started_at: datetime, now: datetime) -> int:
    """Close the receipts of erasures that were complete when a run began, which is live now; return how many."""
    pending = [receipt for receipt in read_receipts(lake) if receipt.is_pending]
    due = [receipt for receipt in pending if receipt.finished_at <= started_at]
    if due:
        with lake.locked():
            for receipt in due:
                write_receipt(lake, replace(receipt, closed_by=run_id, closed_at=now))
    return len(due)


def hash_users(lake: Lake, users: Sequence[str]) -> tuple[str, ...]:
    """Return the keyed hashes of users, by their ids in the lake, in order."""
    key = make_key(lake.directory)
    return tuple(sorted(subject(key, user) for user in users))


def _sign(key: bytes, values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.digest(key, b"receipt:" + text.encode(), "sha256").hex()


def _receipt(values: Mapping[str, Any]) -> Receipt:
    times = {name: datetime.fromisoformat(values[name]) for name in ("requested_at", "finished_at")}
    closed_at = values["closed_at"] and datetime.fromisoformat(values["closed_at"])
    lists = {name: tuple(values[name]) for name in ("subjects", "pending")}
    return Receipt(**{**values, **times, **lists, "closed_at": closed_at})

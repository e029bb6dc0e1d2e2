"""Requests to erase users from a lake: files that stay until the erasure is complete."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jobs.lake.tombstones import FOREVER, add_tombstones, erasures_directory
from recsys.files import flush, load_json, write_json

REQUESTS: Final = "requests"
RECEIPTS: Final = "receipts"


@dataclass(frozen=True)
class ErasureRequest:
    """A request to erase users; `users` are their ids in the lake."""

    id: str
    requested_at: datetime
    users: tuple[str, ...]
    is_forever: bool = False
    """Whether later rows of the ids are kept out too, rather than being those of new persons."""
    guests: tuple[str, ...] | None = None
    """Ids of guests who are the same persons; None until they are found."""
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Place -> rows, keys or files that the erasure removes there."""

    @property
    def until(self) -> datetime:
        """Return the time up to which rows are the persons'."""
        return FOREVER if self.is_forever else self.requested_at


def store_request(lake_directory: Path, request: ErasureRequest) -> None:
    """Write the tombstones of a request, then the request itself, to the disk; the lake must be locked."""
    add_tombstones(lake_directory, (*request.users, *(request.guests or ())), request.until)
    file = _file(lake_directory, request.id)
    write_json(file, asdict(request))
    flush([file])


def update_request(lake_directory: Path, request: ErasureRequest, **values: Any) -> ErasureRequest:
    """Store what was found out about a request; returns it with the new values."""
    changed = replace(request, **values)
    store_request(lake_directory, changed)
    return changed


def read_requests(lake_directory: Path) -> list[ErasureRequest]:
    """Return the requests that are not complete, the oldest first."""
    files = (erasures_directory(lake_directory) / REQUESTS).glob("[!.]*.json")
    requests = [load_json(file, _request) for file in files]
    return sorted(requests, key=lambda request: (request.requested_at, request.id))


def remove_request(lake_directory: Path, request: ErasureRequest) -> None:
    """Remove a request that is complete."""
    _file(lake_directory, request.id).unlink(missing_ok=True)


def receipt_file(lake_directory: Path, request_id: str) -> Path:
    """Return the file of the receipt of a request, which is there once the erasure is complete."""
    return erasures_directory(lake_directory) / RECEIPTS / f"{request_id}.json"


def _request(values: dict[str, Any]) -> ErasureRequest:
    guests: Sequence[str] | None = values["guests"]
    return ErasureRequest(
        values["id"],
        datetime.fromisoformat(values["requested_at"]),
        tuple(values["users"]),
        bool(values["is_forever"]),
        None if guests is None else tuple(guests),
        dict(values["counts"]),
    )


def _file(lake_directory: Path, request_id: str) -> Path:
    return erasures_directory(lake_directory) / REQUESTS / f"{request_id}.json"

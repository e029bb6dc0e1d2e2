"""Erase persons: at once from Redis, then from the lake and the runs, with a receipt.

A request is on disk before anything is erased, and stays until its receipt is written. A process that is killed
leaves it, and the next one finishes it: every step may be done again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from jobs.erasure.persons import Installation, Persons, find_guests
from jobs.erasure.places import PLACES, count_places, erase_places, highest_counts
from jobs.erasure.receipts import NEXT_NIGHT, REDIS_FILES, Receipt, hash_users, write_receipt
from jobs.erasure.redis_places import REDIS_PLACES
from jobs.lake.erasure_requests import (
    ErasureRequest,
    read_requests,
    remove_request,
    store_request,
    update_request,
)
from jobs.lake.lake import open_lake
from jobs.pipeline.run import MANIFEST, locked_runs
from recsys.errors import BusyError, StateError, StoreError
from recsys.event_ids import new_id
from recsys.settings import Settings
from recsys.store.user_keys import rewrite_files, tell_servers

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Erasure:
    """A complete erasure: its receipt and the file of it."""

    receipt: Receipt
    file: Path


def request_erasure(installation: Installation, users: Sequence[str], is_forever: bool = False) -> ErasureRequest:
    """Store a request to erase users, by their ids in the lake, and erase them from Redis at once."""
    lake = installation.lake
    request = ErasureRequest(new_id(), datetime.now(UTC), tuple(dict.fromkeys(users)), is_forever)
    with lake.locked():
        store_request(lake.directory, request)
    guests = find_guests(installation, request.users)
    persons = replace(_persons(request, guests), has_loading=False)
    counts = {place.name: sum(1 for _ in place.find(installation, persons)) for place in REDIS_PLACES}
    with lake.locked():
        request = update_request(lake.directory, request, guests=tuple(sorted(guests)), counts=counts)
    tell_servers(installation.client, installation.keys, persons.ids, is_forever)
    erase_places(installation, persons, REDIS_PLACES)
    return request


def finish_erasures(installation: Installation) -> list[Erasure]:
    """Finish all requests, the oldest first; return their receipts.

    The stream must have been archived just before. Raises `BusyError` while a process works on a run, and
    `StateError` if a second scan finds something.
    """
    with locked_runs(installation.directory):
        return [_finish(installation, request) for request in read_requests(installation.lake.directory)]


def finish_pending(settings: Settings) -> list[Erasure]:
    """Finish all requests, as `finish_erasures`, where Redis answers and nobody works on a run; else log why not.

    Without requests it does not connect to Redis.
    """
    if not read_requests(open_lake(settings).directory):
        return []
    try:
        return finish_erasures(Installation.open(settings))
    except (BusyError, StoreError) as error:
        log.warning("erasures are not finished yet", reason=str(error))
        return []


def _finish(installation: Installation, request: ErasureRequest) -> Erasure:
    lake = installation.lake
    guests = find_guests(installation, request.users) | frozenset(request.guests or ())
    persons = _persons(request, guests)
    planned = highest_counts(request.counts, count_places(installation, persons))
    with lake.locked():
        request = update_request(lake.directory, request, guests=tuple(sorted(guests)), counts=planned)
        tell_servers(installation.client, installation.keys, persons.ids, request.is_forever)
        erased = erase_places(installation, persons)
        is_rewritten = rewrite_files(installation.client)
        found_again = count_places(installation, persons)
        if found_again:
            places = ", ".join(f"{count:,} in {name}" for name, count in found_again.items())
            raise StateError(f"erasure {request.id}: a second scan found {places}; run `recsys erase --pending`")
        has_runs = any((installation.directory / "runs").glob(f"*/{MANIFEST}"))
        pending = (*((NEXT_NIGHT,) if has_runs else ()), *(() if is_rewritten else (REDIS_FILES,)))
        receipt = Receipt(
            request.id,
            request.requested_at,
            datetime.now(UTC),
            hash_users(lake, request.users),
            len(guests),
            request.is_forever,
            {place.name: highest_counts(planned, erased).get(place.name, 0) for place in PLACES},
            found_again,
            pending,
        )
        file = write_receipt(lake, receipt)
        remove_request(lake.directory, request)
    return Erasure(receipt, file)


def _persons(request: ErasureRequest, guests: frozenset[str]) -> Persons:
    return Persons(frozenset(request.users) | guests, request.until)

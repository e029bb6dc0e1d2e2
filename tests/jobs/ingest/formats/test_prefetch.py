"""Chunks are read ahead by a thread, for which nobody waits once the reading is given up."""

import threading
from collections.abc import Iterator

import polars as pl

from jobs.ingest.formats.chunks import Chunk, prefetch
from tests.waiting import wait_until


def test_a_reading_that_is_given_up_does_not_wait_for_its_thread() -> None:
    may_go_on, has_ended = threading.Event(), threading.Event()

    def read() -> Iterator[Chunk]:
        yield Chunk(pl.DataFrame({"row": [1]}))
        may_go_on.wait()
        has_ended.set()
        yield Chunk(pl.DataFrame({"row": [2]}))

    before = threading.active_count()
    chunks = prefetch(read())
    assert next(chunks).rows["row"].to_list() == [1]
    del chunks  # as the garbage collector would; waiting here would never end
    may_go_on.set()
    assert has_ended.wait(30)
    wait_until(lambda: threading.active_count() <= before)

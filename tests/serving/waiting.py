"""Waiting for what comes sooner or later."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 60.0


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not await is_so():
        assert time.monotonic() < give_up_at, "it does not come to that"
        await asyncio.sleep(0.02)


async def until_async(is_so: Callable[[], bool]) -> None:
    """Wait until something is so that is asked without awaiting."""

    async def asked() -> bool:
        return is_so()

    await until(asked)

"""Waiting for a condition, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Poll a condition until it holds; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition does not hold after {seconds:g} s"
        time.sleep(POLL_SECONDS)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll a condition that is awaited until it holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        assert time.monotonic() < deadline, f"the condition does not hold after {PATIENCE_SECONDS:g} s"
        await asyncio.sleep(POLL_SECONDS)


async def until_async(condition: Callable[[], bool]) -> None:
    """Poll a condition until it holds, while the event loop goes on."""

    async def holds() -> bool:
        return condition()

    await until(holds)

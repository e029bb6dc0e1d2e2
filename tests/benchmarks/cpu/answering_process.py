"""A process that answers requests without HTTP, and prints the CPU time of each: a part of `request_cpu`.

It reads lines of a kind of users and a number of requests, and prints the microseconds of each. Run as a script,
it imports the server from the checkout that `PYTHONPATH` names.
"""

import asyncio
import random
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import uvloop

from serving.http.app import Application, create_app

CONCURRENT: Final = 32
WARM_REQUESTS: Final = 1_000


class Requester:
    """Sends requests of users to the application of this process, `CONCURRENT` at once."""

    def __init__(self, application: Application, users: Mapping[str, range]) -> None:
        self._application, self._users, self._random = application, users, random.Random(1)
        self.body_bytes = 0

    async def microseconds(self, kind: str, count: int) -> float:
        """Return the CPU time of a request, over `count` requests for users of one kind."""
        users = self._users[kind]
        paths = iter([f"/v1/recommendations/u{self._random.choice(users)}" for _ in range(count)])

        async def answer_all() -> None:
            for path in paths:
                await self._application(_scope(path), _receive, self._send)

        started = time.process_time()
        await asyncio.gather(*(answer_all() for _ in range(CONCURRENT)))
        return (time.process_time() - started) / count * 1e6

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        assert message.get("status", 200) == 200
        self.body_bytes += len(message.get("body", b""))


def _scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
        "client": ("127.0.0.1", 1),
    }


async def _receive() -> dict[str, Any]:
    raise AssertionError("the request has no body")


async def _answer_lines(users: Mapping[str, range]) -> None:
    application = create_app()
    async with application.lifespan(application.litestar):
        assert application.worker is not None
        await application.worker.catalogue_sync.adopted.wait()
        requester, loop = Requester(application, users), asyncio.get_running_loop()
        for kind in users:
            await requester.microseconds(kind, WARM_REQUESTS)
        print("ready", flush=True)
        while words := (await loop.run_in_executor(None, sys.stdin.readline)).split():
            print(await requester.microseconds(words[0], int(words[1])), flush=True)


if __name__ == "__main__":
    # Arguments such as guests=100000:110000:1 name the kinds and their users.
    kinds = dict(argument.split("=") for argument in sys.argv[1:])
    uvloop.run(_answer_lines({name: range(*map(int, text.split(":"))) for name, text in kinds.items()}))

"""A publisher that may be killed at any moment: `python -m tests.benchmarks.chaos.publisher PORT DIRECTORY`."""

import sys
import time
from pathlib import Path

import redis

from recsys.errors import StoreError
from recsys.store.keys import Keys
from recsys.store.read import live_version
from tests.serving.version_watch import Publisher, number_of

RETRY_SECONDS = 0.2


def publish_forever(port: int, directory: Path) -> None:
    """Publish and roll back without end, from the version after the live one on."""
    while True:
        try:
            with redis.Redis("127.0.0.1", port, socket_timeout=5.0) as client:
                number = number_of(live_version(client, Keys("recsys"))) + 1
                Publisher(client, directory, number).work()
        except (StoreError, redis.RedisError) as error:
            print(error, flush=True)
            time.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    publish_forever(int(sys.argv[1]), Path(sys.argv[2]))

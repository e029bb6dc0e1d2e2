"""Answers while versions are published: none has items of two versions."""

import asyncio
from collections import Counter
from pathlib import Path

import redis

from recsys.settings import Settings
from tests.serving.conftest import application
from tests.serving.version_watch import ObservedAnswers, Publisher, letter_of, watch

REQUESTS = 2_000
VERSIONS = 6


def test_every_answer_is_of_one_version(settings: Settings, client: redis.Redis, tmp_path: Path) -> None:
    publisher = Publisher(client, tmp_path)
    publisher.publish()

    async def scenario() -> ObservedAnswers:
        async with application(settings) as http:
            with publisher.working():
                return await watch(http, REQUESTS, VERSIONS)

    observed = asyncio.run(scenario())
    assert observed.mixed == []
    assert observed.answers >= REQUESTS
    letters = Counter(letter_of(version) for version in observed.versions.elements())
    assert min(letters["a"], letters["b"]) >= REQUESTS / 50

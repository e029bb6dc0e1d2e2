"""API keys, and requests with headers."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from recsys.api_key_file import KeyFile
from recsys.api_keys import ApiKeys, Scope, create_key
from recsys.settings import Settings
from tests.serving.conftest import application

NOW = datetime(2026, 3, 1, tzinfo=UTC)
USER = "customer-4711"
EVENT = {"user_id": USER, "event": "view", "item_id": "a1"}


def keep(file: Path, *keys: tuple[str, Sequence[Scope], int], **fields: Any) -> dict[str, str]:
    """A file of keys, each of a name, scopes and requests per minute, with further fields; their tokens by name."""
    kept, tokens = ApiKeys(), dict[str, str]()
    for name, scopes, per_minute in keys:
        key, tokens[name] = create_key(name, scopes, per_minute, NOW, **fields)
        kept = kept.with_key(key)
    KeyFile(file).save(kept)
    return tokens


def ask(settings: Settings, *requests: tuple[str, str, Any, Mapping[str, str]]) -> list[httpx.Response]:
    """Send the application requests, each a method, path, JSON body and headers; return its responses."""

    async def send() -> list[httpx.Response]:
        async with application(settings) as http:
            return [
                await http.request(method, path, json=body, headers=headers)
                for method, path, body, headers in requests
            ]

    return asyncio.run(send())

"""What recommendations over HTTP are measured beside: FastAPI and redis.asyncio, which read one key a request."""

import os

import redis.asyncio
from fastapi import FastAPI

app = FastAPI()
client = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
PREFIX = os.environ["PREFIX"]


@app.get("/v1/recommendations/{user_id}")
async def recommendations(user_id: str) -> dict[str, object]:
    """The first 20 items of the user's list, none where there is none."""
    value = await client.get(f"{PREFIX}{{{user_id}}}")
    return {"user_id": user_id, "items": value.split(" ")[:20] if value else []}

"""Clients of Redis: pipelined asyncio client and redis-py connections."""

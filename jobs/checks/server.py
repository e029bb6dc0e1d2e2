"""Check Redis: that it answers, keeps every key without an expiry, has memory left, and lets the user work."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from jobs.checks.outcome import Check, doubtful, failed, passed
from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.client.connect import connect
from recsys.store.client.inspection import ServerState, read_server_states, refused_commands, refused_keys
from recsys.store.embedded import server_status
from recsys.store.keys import Keys

NOT_STARTED = "redis.url is not set: recsys starts an embedded Valkey when it needs one; none is started now"
MIN_VERSION = (6, 2)
MAX_MEMORY_SHARE = 0.75  # of maxmemory, which leaves room for events


def check_redis(settings: Redis, directory: Path) -> Iterator[Check]:
    """Check the Redis of the settings, or the embedded server if it runs; it is not started."""
    is_embedded = settings.url is None
    try:
        if is_embedded:
            status = server_status(directory / "valkey")
            if status is None:
                yield passed("redis", NOT_STARTED)
                return
            settings = replace(settings, url=f"redis://{status.address.host}:{status.address.port}")
        client = connect(settings, directory)
        for state in read_server_states(client):
            yield _check_version(state)
            yield _check_role(state)
            yield _check_policy(state)
            if state.max_bytes or not is_embedded:
                yield _check_memory(state)
            yield _check_persistence(state)
            yield from _check_replicas(state, settings)
        keys = Keys(settings.namespace)
        yield _check_user(refused_commands(client, keys), refused_keys(client, keys))
    except StoreError as error:
        yield failed("redis", str(error))


def _check_version(state: ServerState) -> Check:
    number = ".".join(map(str, state.version))
    server = f"{state.name} at {state.address} answers, compatible with Redis {number}"
    if state.version < MIN_VERSION:
        return failed("redis", f"{server}: expected 6.2 or newer")
    return passed("redis", server)


def _check_role(state: ServerState) -> Check:
    if state.is_replica:
        return failed("redis role", f"{state.address} is a read replica: set redis.url to its primary")
    return passed("redis role", f"{state.address} takes writes")


def _check_policy(state: ServerState) -> Check:
    name, found = "redis eviction", f"maxmemory-policy is {state.policy}"
    if state.policy.startswith("volatile"):
        problem = "which removes sessions and flags, which expire, when memory is full; set it to noeviction"
        return doubtful(name, f"{found}, {problem}")
    if not state.policy.startswith("allkeys"):
        return passed(name, f"{found}, which keeps lists and events")
    problem = f"{found}, which removes lists and events when memory is full; set it to noeviction"
    return failed(name, problem) if state.is_evicting else doubtful(name, f"{problem} before maxmemory is set")


def _check_memory(state: ServerState) -> Check:
    name, used = "redis memory", f"{state.used_bytes / 2**20:,.0f} MB are in use"
    if not state.max_bytes:
        return doubtful(
            name, f"{used} and maxmemory is not set; set it, so that Redis refuses writes before it is killed"
        )
    found = f"{used} of {state.max_bytes / 2**20:,.0f} MB"
    if state.used_bytes > MAX_MEMORY_SHARE * state.max_bytes:
        return doubtful(name, f"{found}, more than three quarters; raise maxmemory, or set redis.max_memory")
    return passed(name, found)


def _check_persistence(state: ServerState) -> Check:
    if state.is_append_only:
        return passed("redis persistence", "changes are written to a file (appendonly)")
    return doubtful(
        "redis persistence", "a crash loses the events that wait to be archived; set appendonly yes if they matter"
    )


def _check_replicas(state: ServerState, settings: Redis) -> Iterator[Check]:
    """Check that an event that is acknowledged outlives a failover, where there are replicas."""
    name, expected = "redis replicas", settings.wait_replicas
    found = f"{state.replicas} follow {state.address}"
    if state.replicas < expected:
        yield failed(name, f"{found}, redis.wait_replicas is {expected}: no event is accepted")
    elif expected:
        yield passed(name, f"{found}, {expected} of them have an event before it is acknowledged")
    elif state.replicas:
        yield doubtful(name, f"{found}; a failover may lose acknowledged events: set redis.wait_replicas")


def _check_user(commands: list[str], keys: list[str]) -> Check:
    advice = "see docs/redis.md, Users"
    if commands:
        return failed("redis user", f"the user may not run {', '.join(commands)}; {advice}")
    if keys:
        return failed("redis user", f"the user may not use keys such as {', '.join(keys)}; {advice}")
    return passed("redis user", "the user may run all commands that are needed, on all keys of the namespace")

"""Loading of lists into Redis: spread over the nodes of a Cluster by slot, with every reply checked."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections import deque
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import redis
from redis.cluster import RedisCluster

from recsys.errors import StoreError
from recsys.store.client.connect import Client
from recsys.store.keys import CLUSTER_SLOTS
from recsys.store.publish.bulk_transfer import Channel, transfer
from recsys.store.publish.list_commands import Numbers
from recsys.store.publish.list_files import Block

LISTS_PER_COMMAND: Final = 2048
"""One command occupies the server for about two milliseconds. MSET takes three quarters of the time of as many
SETs, and a server that flushes its file at every write does so once per command."""

DONE: Final = b"+OK\r\n"
REDIRECTIONS: Final = (b"MOVED ", b"ASK ", b"TRYAGAIN")


@dataclass
class _Batch:
    """Commands of one block sent on one channel; `answered` of them have been replied to."""

    block: Block
    rows: Numbers
    commands: int
    answered: int = 0


class Loader:
    """A context manager that writes blocks of lists, and closes its connections at the end."""

    def __init__(self, client: Client, version: str) -> None:
        """Connect to every node that holds slots."""
        self._client = client
        self._version = version
        self._sent: dict[Channel, deque[_Batch]] = {}
        self._refused = 0
        self._first_refusal = ""
        self._redirected: list[tuple[str, bytes]] = []
        self._channels: list[Channel] = []
        self._connect()

    def __enter__(self) -> Self:
        """Return the loader, which is connected."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._close()

    def write(self, block: Block) -> int:
        """Send a block, and read the replies received so far; return the bytes of its values.

        Raises `StoreError` if Redis refuses a list of this or an earlier block.
        """
        size = 0
        for channel, rows in self._split_by_node(block):
            commands, values = block.set_commands(rows, self._per_command)
            channel.send(commands)
            self._sent[channel].append(_Batch(block, rows, -(-len(rows) // self._per_command)))
            size += values
        transfer(self._channels, partial(self._process_replies, wait=False))
        if self._refused or self._redirected:
            self.finish()
        return size

    def finish(self) -> None:
        """Wait for all replies. Raises `StoreError` if Redis has refused a list."""
        transfer(self._channels, partial(self._process_replies, wait=True))
        if self._refused:
            raise StoreError(
                f"version {self._version}: Redis refused {self._refused} lists, the first as: {self._first_refusal}"
            )
        if self._redirected:
            # Slots have moved to another node: redis-py finds it and updates its slot table.
            for key, value in self._redirected:
                self._client.set(key, value)
            self._redirected.clear()
            self._close()
            self._connect()

    def _connect(self) -> None:
        """Open a channel to every node that holds slots, and map each slot to its channel."""
        self._channels, self._node_of_slot = [], np.zeros(CLUSTER_SLOTS, np.int16)
        self._per_command = LISTS_PER_COMMAND
        if isinstance(self._client, redis.Redis):
            self._open(self._client)
            return
        # The keys of one command must share a slot; keys of different users do not.
        self._per_command = 1
        self._client.nodes_manager.initialize()
        cluster: Any = self._client
        numbers: dict[str, int] = {}
        for slot, nodes in cluster.nodes_manager.slots_cache.items():
            if nodes[0].name not in numbers:
                numbers[nodes[0].name] = len(self._channels)
                self._open(cluster.get_redis_connection(nodes[0]))
            self._node_of_slot[slot] = numbers[nodes[0].name]

    def _open(self, client: redis.Redis) -> None:
        channel = Channel(client)
        self._channels.append(channel)
        self._sent[channel] = deque()

    def _close(self) -> None:
        for channel in self._channels:
            channel.close()
        self._sent.clear()

    def _split_by_node(self, block: Block) -> list[tuple[Channel, Numbers]]:
        if not isinstance(self._client, RedisCluster):
            return [(self._channels[0], block.rows)]
        nodes = self._node_of_slot[block.slots()]
        shares = [(channel, block.rows[nodes == number]) for number, channel in enumerate(self._channels)]
        return [(channel, rows) for channel, rows in shares if len(rows)]

    def _process_replies(self, channel: Channel, wait: bool) -> bool:
        """Process the received replies of a channel; return whether all is sent, and if `wait`, replied to."""
        complete = len(channel.incoming) // len(DONE)
        if bytes(channel.incoming) == DONE * complete:
            self._count_replies(channel, complete)
            channel.incoming.clear()
        else:
            *lines, rest = bytes(channel.incoming).split(b"\r\n")
            for line in lines:
                if line != DONE[:-2]:
                    self._refuse(self._sent[channel][0], line)
                self._count_replies(channel, 1)
            channel.incoming[:] = rest
        return not channel.outgoing and not (wait and self._sent[channel])

    def _count_replies(self, channel: Channel, replies: int) -> None:
        batches = self._sent[channel]
        while replies:
            answered = min(replies, batches[0].commands - batches[0].answered)
            batches[0].answered += answered
            replies -= answered
            if batches[0].answered == batches[0].commands:
                batches.popleft()

    def _refuse(self, batch: _Batch, line: bytes) -> None:
        start = batch.answered * self._per_command
        rows = batch.rows[start : start + self._per_command]
        message = line.removeprefix(b"-")
        if message.startswith(REDIRECTIONS):
            self._redirected += batch.block.pairs(rows)
            return
        self._refused += len(rows)
        self._first_refusal = self._first_refusal or message.decode(errors="replace")

"""The encoder of commands in RESP, the protocol of Redis.

`encode_commands` encodes whole commands. For commands that are sent with every event, the parts that stay the same
are encoded once by `encode_head`, `encode_argument` and `encode_arguments`, and joined. Lists in bulk have a
compiled encoder of their own, `recsys.store.publish.list_commands`: one Python call per list would take six times
as long.
"""

# hiredis' packer has loose types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from typing import Final, cast

import hiredis

Argument = str | bytes | int | float
Command = tuple[Argument, ...] | bytes
"""The arguments of a command, or the whole command already encoded."""

_PLACEHOLDER: Final = "\0"  # in no id, and no namespace

_encode_command = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)


def encode_commands(*commands: Command) -> bytes:
    r"""Encode commands, one after the other.

    >>> encode_commands(("GET", "a"), b"*1\r\n$4\r\nPING\r\n")
    b'*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n'
    """
    return b"".join([command if isinstance(command, bytes) else _encode_command(command) for command in commands])


class KeyTemplate:
    r"""A command about one user or item: all of it is encoded once, but for the id, which its keys contain.

    >>> KeyTemplate(lambda name: ("GET", f"user:{name}")).encode("ann")
    b'*2\r\n$3\r\nGET\r\n$8\r\nuser:ann\r\n'
    """

    def __init__(self, command: Callable[[str], Command]) -> None:
        """Encode the command that a function of the id returns; each argument contains the id once at most."""
        parts: list[bytes] = []
        self._lengths: list[int] = []
        arguments = command(_PLACEHOLDER)
        for argument in arguments:
            before, found, after = str(argument).partition(_PLACEHOLDER)
            if found:
                self._lengths.append(len((before + after).encode()))
                parts.append(b"$%%d\r\n%b%%b%b\r\n" % (_escape(before), _escape(after)))
            else:
                parts.append(_escape(encode_argument(before).decode()))
        self._format = b"*%d\r\n%b" % (len(arguments), b"".join(parts))

    def encode(self, name: str) -> bytes:
        """Return the command for an id."""
        encoded = name.encode()
        length = len(encoded)
        values: list[int | bytes] = []
        for other in self._lengths:
            values += (other + length, encoded)
        return self._format % tuple(values)


def _escape(text: str) -> bytes:
    return text.encode().replace(b"%", b"%%")


def encode_head(count: int, *arguments: str | bytes | int) -> bytes:
    r"""Encode the first arguments of a command that has `count` arguments in all.

    >>> encode_head(2, "GET")
    b'*2\r\n$3\r\nGET\r\n'
    """
    return b"*%d\r\n%b" % (count, encode_arguments(*arguments))


def encode_arguments(*values: str | bytes | int) -> bytes:
    """Encode some arguments of a command, one after the other."""
    return b"".join(map(encode_argument, values))


def encode_argument(value: str | bytes | int) -> bytes:
    r"""Encode one argument of a command.

    >>> encode_argument("GET"), encode_argument(12)
    (b'$3\r\nGET\r\n', b'$2\r\n12\r\n')
    """
    if isinstance(value, str):
        value = value.encode()
    elif isinstance(value, int):
        value = b"%d" % value
    return b"$%d\r\n%b\r\n" % (len(value), value)

"""Commands put together by hand are those that the packer of all others makes."""

import pytest

from recsys.store.client.connection import pack
from recsys.store.resp import head, part, parts

COMMANDS = [("GET", "ключ"), ("ZADD", "key", 1_772_366_400_123, b"e1 i1 view"), ("BITFIELD", "k", -51, b"")]


@pytest.mark.parametrize("command", COMMANDS)
def test_parts_make_up_a_command(command: tuple[str | bytes | int, ...]) -> None:
    packed = pack(command)
    assert head(len(command), *command) == packed
    assert head(len(command)) + b"".join(map(part, command)) == packed
    assert head(len(command), command[0]) + parts(*command[1:]) == packed


def test_what_is_packed_already_goes_as_it_is() -> None:
    assert pack(("GET", "a"), head(2, "GET", "a")) == 2 * pack(("GET", "a"))

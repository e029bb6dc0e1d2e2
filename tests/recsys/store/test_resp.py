"""Commands put together by hand are those that the packer of all others makes."""

import pytest

from recsys.store.resp import encode_argument, encode_arguments, encode_commands, encode_head

COMMANDS = [("GET", "ключ"), ("ZADD", "key", 1_772_366_400_123, b"e1 i1 view"), ("BITFIELD", "k", -51, b"")]


@pytest.mark.parametrize("command", COMMANDS)
def test_parts_make_up_a_command(command: tuple[str | bytes | int, ...]) -> None:
    packed = encode_commands(command)
    assert encode_head(len(command), *command) == packed
    assert encode_head(len(command)) + b"".join(map(encode_argument, command)) == packed
    assert encode_head(len(command), command[0]) + encode_arguments(*command[1:]) == packed


def test_what_is_packed_already_goes_as_it_is() -> None:
    assert encode_commands(("GET", "a"), encode_head(2, "GET", "a")) == 2 * encode_commands(("GET", "a"))

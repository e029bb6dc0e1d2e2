"""Commands put together by hand are those that the packer of all others makes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.store.resp import KeyTemplate, encode_argument, encode_arguments, encode_commands, encode_head

COMMANDS = [("GET", "ключ"), ("ZADD", "key", 1_772_366_400_123, b"e1 i1 view"), ("BITFIELD", "k", -51, b"")]


@pytest.mark.parametrize("command", COMMANDS)
def test_parts_make_up_a_command(command: tuple[str | bytes | int, ...]) -> None:
    packed = encode_commands(command)
    assert encode_head(len(command), *command) == packed
    assert encode_head(len(command)) + b"".join(map(encode_argument, command)) == packed
    assert encode_head(len(command), command[0]) + encode_arguments(*command[1:]) == packed


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",))))
def test_a_template_makes_the_command_of_any_id(name: str) -> None:
    def command(each: str) -> tuple[str | int, ...]:
        return ("MGET", f"100% é:{{{each}}}", 20, f"{each}:%d", each)

    assert KeyTemplate(command).encode(name) == encode_commands(command(name))


def test_what_is_packed_already_goes_as_it_is() -> None:
    assert encode_commands(("GET", "a"), encode_head(2, "GET", "a")) == 2 * encode_commands(("GET", "a"))

"""Commands as the bytes of Redis' protocol, put together from parts that are packed once.

For what is sent with every event: packing it anew takes longer than all else that is done about it.
"""

Part = str | bytes | int


def encode_argument(value: Part) -> bytes:
    """One part of a command.

    >>> part("GET"), part(12)
    (b'$3\\r\\nGET\\r\\n', b'$2\\r\\n12\\r\\n')
    """
    if isinstance(value, str):
        value = value.encode()
    elif isinstance(value, int):
        value = b"%d" % value
    return b"$%d\r\n%b\r\n" % (len(value), value)


def encode_arguments(*values: Part) -> bytes:
    """Some parts of a command, one after the other."""
    return b"".join(map(encode_argument, values))


def encode_head(count: int, *values: Part) -> bytes:
    """The beginning of a command of `count` parts: how many there are, and the first of them.

    >>> head(2, "GET")
    b'*2\\r\\n$3\\r\\nGET\\r\\n'
    """
    return b"*%d\r\n%b" % (count, encode_arguments(*values))

"""Ids of requests and of events without one: unique, also over processes that are forked."""

import subprocess
import sys
import time
from typing import Final

from recsys.event_ids import new_id

FORKED: Final = """
import os
from recsys.event_ids import new_id
is_parent = os.fork() > 0
ids = "".join(f"{new_id()}\\n" for _ in range(100))
if is_parent:
    os.wait()
os.write(1, ids.encode())
"""


def test_ids_are_of_version_7_and_in_the_order_of_time() -> None:
    earlier = new_id()
    time.sleep(0.002)
    later = new_id()
    assert earlier < later
    assert {earlier[12], later[12]} == {"7"}
    assert {earlier[16], later[16]} <= set("89ab")  # the variant of RFC 9562


def test_a_forked_process_makes_other_ids_than_its_parent() -> None:
    output = subprocess.run([sys.executable, "-c", FORKED], check=True, capture_output=True, text=True).stdout
    random_parts = {each[13:16] + each[17:] for each in output.split()}
    assert len(random_parts) == 200

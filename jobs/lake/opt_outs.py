"""Users who want no personal lists: their events are left out, and the lists of others learn nothing from them.

An opt-out is kept when the user is erased, so that nothing is learned of the user afterwards either.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from jobs.lake.state_files import read_state
from recsys.files import atomic_write
from recsys.schema import TIMESTAMP, TIMESTAMP_DTYPE, USER_ID

FILE: Final = "opt_outs.parquet"
OPT_OUT_DTYPES: Final = {USER_ID: pl.String(), TIMESTAMP: TIMESTAMP_DTYPE}


def read_opt_outs(lake_directory: Path) -> pl.DataFrame:
    """Return the users who have opted out, by their ids in the lake, and since when."""
    file = lake_directory / FILE
    return read_state(file) if file.exists() else pl.DataFrame(schema=OPT_OUT_DTYPES)


def opted_out_users(lake_directory: Path) -> pl.Series | None:
    """Return the users who have opted out, None if there are none."""
    users = read_opt_outs(lake_directory)[USER_ID]
    return None if users.is_empty() else users


def change_opt_outs(lake_directory: Path, changes: Iterable[tuple[str, datetime, bool]]) -> int:
    """Note users who opted out, or in again, in their order; the lake must be locked. Returns how many changed.

    A change is the id in the lake, its time, and whether the user opted out.
    """
    before = dict(read_opt_outs(lake_directory).iter_rows())
    after = dict(before)
    for user_id, at, is_opted_out in changes:
        after.pop(user_id, None)
        if is_opted_out:
            after[user_id] = before.get(user_id, at)
    changed = before.items() ^ after.items()
    if changed:
        rows = pl.DataFrame({USER_ID: list(after), TIMESTAMP: list(after.values())}, OPT_OUT_DTYPES)
        with atomic_write(lake_directory / FILE) as temporary:
            rows.sort(USER_ID).write_parquet(temporary)
    return len({user_id for user_id, _ in changed})


def without_opted_out(rows: pl.DataFrame, users: pl.Series | None) -> pl.DataFrame:
    """Return the rows of users who have not opted out."""
    if users is None or USER_ID not in rows.columns:
        return rows
    return rows.filter(~pl.col(USER_ID).is_in(users.implode()).fill_null(value=False))

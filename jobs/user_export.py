"""Export all users of a run, with a data dictionary: one row per user, in Parquet or CSV."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow.parquet

from jobs.lake.erasure_requests import read_requests
from jobs.lake.lake import Lake
from jobs.lake.opt_outs import read_opt_outs
from jobs.pipeline.run import Run, list_runs
from jobs.pipeline.step_names import FEATURES
from jobs.pipeline.user_rows import bucket_files, describe_user_rows, user_rows
from recsys.errors import RunError, SettingsError
from recsys.files import atomic_write
from recsys.schema import USER_ID

CSV: Final = ".csv"
PARQUET: Final = ".parquet"
GROUP_USERS: Final = 16_384
FORMULA_STARTS: Final = r"^([=+\-@\t\r])"
"""Characters with which a spreadsheet begins a formula; an apostrophe before it makes it text."""


def find_run(directory: Path, run_id: str | None) -> Run:
    """Return the run with this id, or the latest one, that has features; raises `RunError` if there is none."""
    for run in list_runs(directory):
        if run_id in (None, run.id) and FEATURES in run.manifest()["steps"]:
            return run
    named = f" {run_id}" if run_id else ""
    raise RunError(f"no run{named} with features under {directory}: run `recsys features`")


def export_users(run: Run, lake: Lake, file: Path, dictionary: Path) -> int:
    """Write all users of a run to `file`, and what its columns mean to `dictionary`; return how many users.

    Left out are users who have opted out by now, or whose erasure is queued. Both files can be read by their owner
    only. Raises `SettingsError` for an ending other than .parquet and .csv, or one file for both.
    """
    _check(file, dictionary)
    run.check_pseudonyms(lake.pseudonyms)
    withheld = _withheld_users(lake)
    blocks = (
        rows.filter(~pl.col(USER_ID).is_in(withheld.implode())).collect(engine="streaming")
        for rows in (user_rows(run.directory, bucket) for bucket in bucket_files(run.directory))
    )
    write = _write_csv if file.suffix.lower() == CSV else _write_parquet
    with atomic_write(file) as temporary:
        _create_private(temporary)
        users, schema = write(temporary, blocks)
    with atomic_write(dictionary) as temporary:
        _create_private(temporary)
        data_dictionary(schema).write_csv(temporary, quote_style="non_numeric")
    return users


def data_dictionary(schema: pl.Schema) -> pl.DataFrame:
    """Return one row per exported column: column, type, unit, meaning, table."""
    described = zip(schema.items(), describe_user_rows(schema.names()), strict=True)
    rows = [
        (name, str(dtype), feature.unit, feature.meaning, table) for (name, dtype), (table, feature) in described
    ]
    return pl.DataFrame(
        rows, schema=dict.fromkeys(("column", "type", "unit", "meaning", "table"), pl.String), orient="row"
    )


def _check(file: Path, dictionary: Path) -> None:
    for option, path, endings in (("--out", file, (PARQUET, CSV)), ("--dictionary", dictionary, (CSV,))):
        if path.suffix.lower() not in endings:
            raise SettingsError(f"{option} = {str(path)!r}: expected a file that ends in {' or '.join(endings)}")
        if path.is_dir():
            raise SettingsError(f"{option} = {str(path)!r}: expected a file, not a directory")
    if file.absolute() == dictionary.absolute():
        raise SettingsError(f"--dictionary = {str(dictionary)!r}: expected another file than --out")


def _withheld_users(lake: Lake) -> pl.Series:
    queued = [
        user for request in read_requests(lake.directory) for user in (*request.users, *(request.guests or ()))
    ]
    return pl.concat([read_opt_outs(lake.directory)[USER_ID], pl.Series(USER_ID, queued, pl.String)])


def _create_private(file: Path) -> None:
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _write_parquet(file: Path, blocks: Iterator[pl.DataFrame]) -> tuple[int, pl.Schema]:
    users, schema, writer = 0, pl.Schema(), None
    try:
        for block in blocks:
            users, schema, table = users + block.height, block.schema, block.to_arrow()
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=GROUP_USERS)
    finally:
        if writer is not None:
            writer.close()
    return users, schema


def _write_csv(file: Path, blocks: Iterator[pl.DataFrame]) -> tuple[int, pl.Schema]:
    users, schema = 0, pl.Schema()
    with file.open("wb") as out:
        for number, block in enumerate(blocks):
            users, schema = users + block.height, block.schema
            flat = block.select(_csv_cell(name, dtype) for name, dtype in block.schema.items())
            flat.write_csv(out, include_header=number == 0, quote_style="non_numeric")
    return users, schema


def _csv_cell(name: str, dtype: Any) -> pl.Expr:
    """Return a column as text that no spreadsheet takes for a formula; lists as JSON."""
    column = pl.col(name)
    if isinstance(dtype, pl.List):
        text = pl.struct(column.alias("v")).struct.json_encode()
        return pl.when(column.is_not_null()).then(text.str.slice(5, text.str.len_chars() - 6)).alias(name)
    if dtype.is_temporal():
        return column.dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    return column.str.replace(FORMULA_STARTS, "'${1}") if dtype == pl.String() else column

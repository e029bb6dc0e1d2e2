"""Writes the rows of a MySQL query to a file, in a process of its own: `python mysql_spool.py < request.json`.

connectorx holds the rows that its reader has not asked for yet in memory, without a limit, so the reader has to do
nothing but write; it also explains a failure in many lines on standard error, and repeats a refused connection for
half a minute. The process that starts this one reads those lines, and ends it at the first.
"""

import json
import sys

import connectorx
import pyarrow as pa

FAILED = "failed: "
BATCH_ROWS = 20_000


def spool(uri: str, query: str, path: str) -> None:
    """Write the rows of a query to an Arrow stream at `path`."""
    rows = connectorx.read_sql(uri, query, return_type="arrow_stream", batch_size=BATCH_ROWS)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, rows.schema, options=options) as stream:
        for batch in rows:
            stream.write_batch(batch)


def main() -> None:
    """Do what standard input asks for; say in one line what went wrong."""
    try:
        spool(**json.load(sys.stdin))
    except BaseException as error:  # a panic of connectorx is no Exception
        said = " ".join(str(error).partition("Stack backtrace")[0].split())
        print(f"{FAILED}{said}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

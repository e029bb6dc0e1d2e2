"""Write the rows of MySQL queries to files, in a child process: `python mysql_spool.py < requests.jsonl`.

connectorx buffers the rows that its reader has not consumed yet in memory without a limit, so the reader must do
nothing but write. It also reports a failure in many lines on standard error, and retries a refused connection for
half a minute. The parent process reads those lines, and kills this one at the first.
"""

import json
import sys

import connectorx
import pyarrow as pa

FAILED = "failed: "
DONE = "done"
BATCH_ROWS = 20_000


def spool(uri: str, query: str, path: str) -> None:
    """Write the rows of a query to an Arrow stream at `path`."""
    rows = connectorx.read_sql(uri, query, return_type="arrow_stream", batch_size=BATCH_ROWS)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(path, "wb") as file, pa.ipc.new_stream(file, rows.schema, options=options) as stream:
        for batch in rows:
            stream.write_batch(batch)


def main() -> None:
    """Run each request from standard input, a line of JSON; print `DONE`, or print an error line and exit."""
    try:
        for line in sys.stdin:
            spool(**json.loads(line))
            print(DONE, flush=True)
    except BaseException as error:  # a panic in connectorx is not an Exception
        message = " ".join(str(error).partition("Stack backtrace")[0].split())
        print(f"{FAILED}{message}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

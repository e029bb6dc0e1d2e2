"""`python -m serving`: run the HTTP server.

What worker processes load stands in `serving.http.server`: a spawned process does not import this module again.
"""

import sys

from recsys.errors import RecsysError
from serving.http.server import run_server

if __name__ == "__main__":
    try:
        run_server()
    except RecsysError as error:
        print(f"recsys: {error}", file=sys.stderr)
        sys.exit(2)

"""`python -m serving`: run the HTTP server.

What worker processes load stands in `serving.http.server`: a spawned process does not import this module again.
"""

from serving.http.server import run_server

if __name__ == "__main__":
    run_server()

"""`python -m serving HOST PORT WORKERS`: granian, with as many processes of the app."""

import sys
from typing import Final

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels
from litestar import Litestar

APP: Final = "serving.app"
STOP_SECONDS: Final = 30


def load(target: str) -> Litestar:
    """The app, made in the process that is to answer with it."""
    from importlib import import_module

    return import_module(target).create_app()


def main(host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered, a worker that dies is replaced."""
    server = Granian(
        APP,
        address=host,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
        log_level=LogLevels.warning,
    )
    shown = f"[{host}]" if ":" in host else host
    server.on_startup(lambda: print(f"Serving at http://{shown}:{port}/v1/recommendations/<user_id>", flush=True))
    server.serve(target_loader=load)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

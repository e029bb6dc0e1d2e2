"""`python -m serving`: granian, with as many processes of the app as the settings say."""

import shutil
from typing import Final

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels

from recsys.settings import load_settings, settings_file
from serving.http.app import Application
from serving.http.worker import DIRECTORY, METRICS

APP: Final = "serving.http.app"
STOP_SECONDS: Final = 30


def load(target: str) -> Application:
    """The app, made in the process that is to answer with it."""
    from importlib import import_module

    return import_module(target).create_app()


def main() -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered, a worker that dies is replaced."""
    settings = load_settings(settings_file())
    serving = settings.serving
    shutil.rmtree(settings.directory / DIRECTORY / METRICS, ignore_errors=True)
    server = Granian(
        APP,
        address=serving.host,
        port=serving.port,
        workers=serving.workers,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_SECONDS,
        ssl_cert=serving.tls_certificate,
        ssl_key=serving.tls_key,
        log_level=LogLevels.warning,
    )
    shown = f"[{serving.host}]" if ":" in serving.host else serving.host
    scheme = "http" if serving.tls_certificate is None else "https"
    address = f"{scheme}://{shown}:{serving.port}/v1/recommendations/<user_id>"
    server.on_startup(lambda: print(f"Serving at {address}", flush=True))
    server.serve(target_loader=load)


if __name__ == "__main__":
    main()

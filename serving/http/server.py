"""The server: granian, with as many worker processes as the settings say."""

import multiprocessing
import shutil
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from granian import Granian
from granian.constants import Interfaces, Loops, SSLProtocols
from granian.log import LogLevels

from recsys.api_key_file import KeyFile
from recsys.logs import configure_logging
from recsys.server_checks import check_server
from recsys.settings import load_settings, settings_file
from recsys.store.embedded_watch import watch_in_background
from serving.http.directories import metrics_directory

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.http.app import Application

APP_MODULE: Final = "serving.http.app"
STOP_SECONDS: Final = 30
TLS_VERSIONS: Final = {"1.2": SSLProtocols.tls12, "1.3": SSLProtocols.tls13}


class Server(Protocol):
    """What serves: granian."""

    def serve(self, *, target_loader: "Callable[[str], Application]") -> None:
        """Serve until a signal comes."""
        ...


def load_app(module: str) -> "Application":
    """Create the application, in the worker process that serves it."""
    return import_module(module).create_app()


def run_server() -> None:
    """Serve until SIGTERM or SIGINT: open requests are answered, and a worker that dies is replaced.

    The embedded Valkey, if whoever started this program named it, is started again should it end. Workers are
    spawned, not forked: libraries that the settings are checked with start threads in this process, and a forked
    worker would wait forever on locks that those threads hold.
    """
    multiprocessing.set_start_method("spawn")
    settings = load_settings(settings_file())
    check_server(settings)
    KeyFile.of(settings.directory).keep_state()
    serving = settings.serving
    shutil.rmtree(metrics_directory(settings.directory), ignore_errors=True)
    server = Granian(
        APP_MODULE,
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
        ssl_protocol_min=TLS_VERSIONS[serving.tls_minimum],
        log_level=LogLevels.warning,
    )
    host = f"[{serving.host}]" if ":" in serving.host else serving.host
    scheme = "http" if serving.tls_certificate is None else "https"
    address = f"{scheme}://{host}:{serving.port}/v1/recommendations/<user_id>"
    server.on_startup(lambda: print(f"Serving at {address}", flush=True))
    configure_logging(settings.log_format)
    watch_in_background()
    serve_until_stopped(server)


def serve_until_stopped(server: Server) -> None:
    """Serve; should the server itself fail, stop its workers and raise what it failed with.

    Otherwise its threads, each of which waits for a worker, would keep the process alive, and the workers would
    answer until they die, with nobody to replace them.
    """
    try:
        server.serve(target_loader=load_app)
    except BaseException:
        workers = multiprocessing.active_children()
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(STOP_SECONDS)
            worker.kill()
        raise

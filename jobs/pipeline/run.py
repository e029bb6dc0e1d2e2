"""A run: a directory written step by step, resumed after a kill, and never changed once it is complete."""

import fcntl
import hashlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
from pydantic import TypeAdapter

from jobs.lake.event_writer import DATE, partition_files
from jobs.lake.lake import FLAGS, TABLES, Lake
from recsys.errors import BusyError, RunError
from recsys.files import atomic_write, fingerprint, read_json, remove_partial, write_json
from recsys.pseudonyms import Pseudonyms, stored_fingerprint
from recsys.settings import Settings

log = structlog.get_logger(__name__)

MANIFEST = "manifest.json"
RUNNING, COMPLETE, FAILED = "running", "complete", "failed"
PSEUDONYMS = "pseudonyms"  # field of the manifest: fingerprint of the keys under which users have their lists
PACKAGES = ("recsys-engine", "polars", "implicit", "numpy", "scipy", "redis")
# Settings that do not change any output, or may contain a password.
NOT_IN_MANIFEST = {
    "redis": True,
    "schedule": True,
    "retention": True,
    "serving": True,
    "directory": True,
    "log_format": True,
    "former_pseudonym_keys": True,  # the fingerprint of all keys is in the manifest
    # Allowed users count as an input, by their ids in the lake.
    "anomalies": {
        "online": True,
        "flag_threshold": True,
        "flag_hours": True,
        "max_flagged_share": True,
        "allowed_users": True,
    },
    "sources": {"connections": True, "storage_options": True},
}


@dataclass(frozen=True)
class Run:
    """A run directory; its id is `as_of`, the moment up to which it reads events."""

    directory: Path
    as_of: datetime

    @property
    def id(self) -> str:
        """Return the run id, which is also the version of its lists."""
        return run_id(self.as_of)

    def manifest(self) -> dict[str, Any]:
        """Read the settings, inputs, versions, steps and status written so far."""
        return read_json(self.directory / MANIFEST)

    def check_pseudonyms(self, pseudonyms: Pseudonyms | None) -> None:
        """Raise `RunError` if the lists of the run are of users with other pseudonyms."""
        expected = stored_fingerprint(pseudonyms)
        # A run of an earlier version says nothing; the only key was then the first one.
        unknown = expected if pseudonyms is None or len(pseudonyms.keys) == 1 else None
        if self.manifest().get(PSEUDONYMS, unknown) != expected:
            raise RunError(f"{self.directory}: the lists are of users with other pseudonyms: run `recsys nightly`")

    def write_step(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a step's output with `write`, which gets an empty directory, and record the step.

        The directory is renamed to its name when it is complete.
        """
        log.debug("step started", run=self.id, step=name)
        started = time.perf_counter()
        _reset_peak_memory()
        with atomic_write(self.directory / name) as partial_directory:
            partial_directory.mkdir()
            write(partial_directory)
        self.record_step(name, time.perf_counter() - started)

    def record_step(self, name: str, seconds: float) -> None:
        """Record in the manifest that a step is complete."""
        manifest = self.manifest()
        manifest["steps"][name] = {"seconds": round(seconds, 3), "peak_memory_bytes": _peak_memory()}
        write_json(self.directory / MANIFEST, manifest)
        log.debug("step done", run=self.id, step=name, **manifest["steps"][name])

    def update(self, **values: Any) -> None:
        """Set fields of the manifest."""
        write_json(self.directory / MANIFEST, self.manifest() | values)


@contextmanager
def open_run(settings: Settings, lake: Lake, as_of: datetime) -> Generator[Run]:
    """Open the run of `as_of`, create it if it does not exist, and lock it for this process.

    A run whose settings or input have changed starts over, unless it is complete. Raises `RunError` if another
    process holds the lock, or if the run is complete with other settings.
    """
    run = Run(settings.directory / "runs" / run_id(as_of), as_of)
    run.directory.mkdir(parents=True, exist_ok=True)
    with (run.directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{run.directory}: another process is working on this run") from None
        remove_partial(run.directory)
        _begin(run, settings, lake)
        try:
            yield run
        except BaseException as error:
            if run.manifest()["status"] != COMPLETE:
                run.update(status=FAILED, error=str(error) or type(error).__name__)
            raise


@contextmanager
def locked_runs(directory: Path) -> Generator[None]:
    """Lock all runs under the data directory; raises `BusyError` if a process is working on one."""
    with ExitStack() as opened:
        for path in sorted((directory / "runs").glob("*/.lock")):
            try:
                fcntl.flock(opened.enter_context(path.open("w")), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(f"{path.parent}: another process is working on this run") from None
        yield


def list_runs(directory: Path) -> list[Run]:
    """List every run under the data directory, the latest first."""
    manifests = sorted((directory / "runs").glob(f"*/{MANIFEST}"), reverse=True)
    return [Run(manifest.parent, datetime.fromisoformat(read_json(manifest)["as_of"])) for manifest in manifests]


def run_id(as_of: datetime) -> str:
    """Format `as_of` in UTC, such as 20171231T000000Z, with microseconds if they are not zero."""
    moment = as_of.astimezone(UTC)
    return moment.strftime("%Y%m%dT%H%M%S.%fZ" if moment.microsecond else "%Y%m%dT%H%M%SZ")


def _begin(run: Run, settings: Settings, lake: Lake) -> None:
    values = TypeAdapter(Settings).dump_python(settings, mode="json", exclude=NOT_IN_MANIFEST)
    settings_mark = _hash_json(values)
    allowed = sorted(lake.stored_id(user) for user in settings.anomalies.allowed_users)
    inputs_mark = _hash_json([*_lake_files(lake, run.as_of), *allowed])
    if (run.directory / MANIFEST).exists():
        manifest = run.manifest()
        if manifest["status"] == COMPLETE and manifest["settings_mark"] != settings_mark:
            raise RunError(
                f"{run.directory}: the run is complete, with other settings; "
                "give another --as-of, or remove the directory"
            )
        if manifest["status"] == COMPLETE:
            return
        if (manifest["settings_mark"], manifest["inputs_mark"]) == (settings_mark, inputs_mark):
            run.update(status=RUNNING, error=None)
            return
        log.info("run starts over because settings or input changed", run=run.id)
        _empty(run.directory)
    write_json(
        run.directory / MANIFEST,
        {
            "run_id": run.id,
            "as_of": run.as_of.astimezone(UTC).isoformat(),
            "status": RUNNING,
            "error": None,
            "settings": values,
            "settings_mark": settings_mark,
            PSEUDONYMS: stored_fingerprint(lake.pseudonyms),
            "inputs_mark": inputs_mark,
            "versions": {name: version(name) for name in PACKAGES},
            "steps": {},
        },
    )


def _empty(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _hash_json(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _lake_files(lake: Lake, as_of: datetime) -> list[str]:
    """List what identifies the content of the lake's files of days before `as_of`.

    Files of events are identified by name, size and time of their last change, as reading all of them takes long;
    an ingest writes only those that change. Files of later days are no input of the run.
    """
    last = f"{DATE}={as_of.astimezone(UTC) - timedelta(microseconds=1):%Y-%m-%d}"
    days = [file for file in partition_files(lake.directory / "events") if file.parent.name <= last]
    events = [
        f"{file.relative_to(lake.directory)} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in days
    ]
    tables = [lake.directory / f"{table}.parquet" for table in TABLES]
    flags = sorted(file for file in (lake.directory / FLAGS).rglob("*.parquet") if file.parent.name <= last)
    flag_names = [str(file.relative_to(lake.directory)) for file in flags]
    return [*events, *flag_names, *(fingerprint(table) for table in tables if table.exists())]


def _reset_peak_memory() -> None:
    """Reset the process's peak memory, if the kernel can."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def _peak_memory() -> int:
    """Return the peak memory of the process since the last reset, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

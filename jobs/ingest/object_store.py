"""Files in object stores and on the web: found by path or glob, and copied one at a time to be read as any file."""

import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from jobs.ingest.files import FORMATS, check_format, first_line, has_known_format
from recsys.errors import SettingsError, SourceError
from recsys.settings.types import REDACTED, redact_address

SECONDS = 10  # to connect, and to wait for the next bytes
ATTEMPTS = 3
BLOCK_BYTES = 4 * 2**20
GLOB = re.compile(r"[*?\[]")
WEB = ("https", "http")
SCHEMES = ("s3", "gs", "az", *WEB)

# Setting, as Polars names it -> argument of the file system.
S3_OPTIONS = {
    "aws_access_key_id": "access_key",
    "aws_secret_access_key": "secret_key",
    "aws_session_token": "session_token",
    "aws_region": "region",
    "aws_endpoint_url": "endpoint_override",
}
AZURE_OPTIONS = {
    "azure_storage_account_name": "account_name",
    "azure_storage_account_key": "account_key",
    "azure_storage_sas_token": "sas_token",
}
ANONYMOUS = ("aws_skip_signature", "google_skip_signature")
OPTIONS = (*S3_OPTIONS, *AZURE_OPTIONS, *ANONYMOUS)
SECRET_OPTIONS = (
    "aws_secret_access_key",
    "aws_session_token",
    "azure_storage_account_key",
    "azure_storage_sas_token",
)


@dataclass(frozen=True)
class RemoteFile:
    """A file in a store; `shown` is its address without secrets, `name` says which tables read it."""

    shown: str
    name: str
    path: str
    store: "Store"

    def state(self) -> str:
        """What changes with its content, asked without reading it; empty where the store tells nothing."""
        with _told(self.shown, self.store):
            return self.store.state(self.path)

    def fetch(self, directory: Path) -> Path:
        """Copy it into a directory under its name; raises `SourceError` when it cannot be read to its end."""
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / self.name
        with _told(self.shown, self.store), self.store.opened(self.path) as (source, size):
            with target.open("wb") as file:
                shutil.copyfileobj(source, file, BLOCK_BYTES)
            if size is not None and target.stat().st_size != size:
                raise OSError(f"it ended after {target.stat().st_size} of {size} bytes")
        return target


class Store(Protocol):
    """Where files lie."""

    secrets: tuple[str, ...]

    def find(self, path: str) -> list[str]:
        """Paths of the files at a path, in a directory, or of a glob."""
        ...

    def state(self, path: str) -> str:
        """What changes with a file's content."""
        ...

    def opened(self, path: str) -> Any:
        """A context manager that gives a file's bytes as a stream, and how many there are if that is known."""
        ...


class Bucket:
    """An object store, by Arrow's file systems."""

    def __init__(self, filesystem: fs.FileSystem, secrets: tuple[str, ...]) -> None:
        self._filesystem = filesystem
        self.secrets = secrets

    def find(self, path: str) -> list[str]:
        """Paths of the files at a path, under a directory, or of a glob."""
        bucket = path.partition("/")[0]
        if GLOB.search(bucket) or not bucket:
            raise OSError("a bucket has a name without * ? [")
        if not GLOB.search(path):
            info = self._filesystem.get_file_info(path.rstrip("/"))
            if info.type == fs.FileType.File:
                return [info.path]
        fixed, pattern = _split(path)
        found = [file for file in self._under(fixed) if has_known_format(file) and pattern.fullmatch(file)]
        if not found and self._filesystem.get_file_info(bucket).type == fs.FileType.NotFound:
            raise OSError("the bucket is not there")
        return found

    def _under(self, directory: str) -> Iterator[str]:
        selector = fs.FileSelector(directory, allow_not_found=True, recursive=True)
        for info in self._filesystem.get_file_info(selector):
            if info.type == fs.FileType.File:
                yield info.path

    def state(self, path: str) -> str:
        """The entity tag where there is one, the time of the last change otherwise, and the size."""
        info = self._filesystem.get_file_info(path)
        with self._filesystem.open_input_stream(path, compression=None) as stream:
            tag = (stream.metadata() or {}).get("ETag", b"").decode()
        return f"{tag or info.mtime_ns} {info.size}"

    @contextmanager
    def opened(self, path: str) -> Generator[tuple[Any, int | None]]:
        """A file's bytes as a stream, and how many there are."""
        size = self._filesystem.get_file_info(path).size
        with self._filesystem.open_input_stream(path, compression=None) as stream:
            yield stream, size


class Web:
    """Single files by https."""

    secrets = ()

    def find(self, path: str) -> list[str]:
        """The path itself."""
        return [path]

    def state(self, path: str) -> str:
        """What the server says of the file's version; empty where that is nothing."""
        with _answer(urllib.request.Request(path, method="HEAD")) as answer:
            tag = answer.headers["ETag"] or answer.headers["Last-Modified"]
            return f"{tag} {answer.headers['Content-Length']}" if tag else ""

    @contextmanager
    def opened(self, path: str) -> Generator[tuple[Any, int | None]]:
        """A file's bytes as a stream, and how many there are if the server says so."""
        with _answer(urllib.request.Request(path)) as answer:
            size = answer.headers["Content-Length"]
            yield answer, None if size is None else int(size)


def _answer(request: urllib.request.Request) -> Any:
    try:
        return urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise OSError(f"HTTP error {error.code} {error.reason}") from None


def is_remote(path: str) -> bool:
    """Whether a path is an address; raises `SettingsError` for one of a kind that is not read."""
    scheme, separator, _ = path.partition("://")
    if separator and scheme not in SCHEMES:
        raise SettingsError(
            f"{redact_address(path)}: expected an address that begins with one of {', '.join(SCHEMES)}://"
        )
    return bool(separator)


def find_remote_files(paths: tuple[str, ...], options: Mapping[str, str]) -> list[RemoteFile]:
    """Every readable file at the given addresses, sorted, each once.

    Raises `SourceError` for an address at which there is none, or of an unknown format.
    """
    stores: dict[str, Store] = {}
    found: dict[str, RemoteFile] = {}
    for address in paths:
        scheme, _, path = address.partition("://")
        if scheme not in stores:
            with _told(redact_address(address), Web()):
                stores[scheme] = _store(scheme, options)
        files = _expand(address, path, stores[scheme])
        found |= {file.shown: file for file in files}
    return [found[shown] for shown in sorted(found)]


def _expand(address: str, path: str, store: Store) -> list[RemoteFile]:
    scheme = address.partition("://")[0]
    if scheme in WEB:
        name = PurePosixPath(unquote(urlsplit(address).path)).name
        check_format(redact_address(address), name)
        return [RemoteFile(redact_address(address), name, address, store)]
    with _told(address, store):
        found = store.find(path)
    if not found:
        raise SourceError(f"{address}: no {', '.join(FORMATS)} file is there")
    for place in found:
        check_format(f"{scheme}://{place}", place)
    return [RemoteFile(f"{scheme}://{place}", PurePosixPath(place).name, place, store) for place in found]


def _store(scheme: str, options: Mapping[str, str]) -> Store:
    unknown = next((name for name in options if name not in OPTIONS), None)
    if unknown is not None:
        raise SettingsError(f"sources.storage_options.{unknown}: expected one of {', '.join(OPTIONS)}")
    secrets = tuple(options[name] for name in SECRET_OPTIONS if options.get(name))
    anonymous = any(options.get(name, "").lower() == "true" for name in ANONYMOUS)
    if scheme in WEB:
        return Web()
    if scheme == "s3":
        return Bucket(
            fs.S3FileSystem(
                anonymous=anonymous,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
                request_timeout=SECONDS,
                connect_timeout=SECONDS,
                **_arguments(S3_OPTIONS, options),
            ),
            secrets,
        )
    if scheme == "gs":
        patience = timedelta(seconds=SECONDS * ATTEMPTS)
        return Bucket(fs.GcsFileSystem(anonymous=anonymous, retry_time_limit=patience), secrets)
    if not options.get("azure_storage_account_name"):
        raise SettingsError("sources.storage_options.azure_storage_account_name is missing")
    return Bucket(fs.AzureFileSystem(**_arguments(AZURE_OPTIONS, options)), secrets)


def _arguments(names: Mapping[str, str], options: Mapping[str, str]) -> dict[str, Any]:
    return {argument: options[name] for name, argument in names.items() if name in options}


def _split(path: str) -> tuple[str, re.Pattern[str]]:
    """The directory to search, and what matches the paths of files in it; for no glob, all of them do."""
    first = GLOB.search(path)
    if first is None:
        return path.rstrip("/"), re.compile(".*", re.DOTALL)
    return path[: first.start()].rpartition("/")[0], re.compile(_as_regex(path), re.DOTALL)


def _as_regex(pattern: str) -> str:
    """A glob as `glob.glob` reads it: `*` and `?` stay within a part of the path, `**` is any number of parts."""
    parts = re.split(r"(\*\*/|\*|\?|\[!?[^\]]+\])", pattern)
    signs = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        signs.get(part) or (re.sub(r"^\[!", "[^", part) if part.startswith("[") else re.escape(part))
        for part in parts
    )


@contextmanager
def _told(shown: str, store: Store) -> Generator[None]:
    """What goes wrong, as one line with the address."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException, http.client.HTTPException) as error:
        reason = first_line(error)
        for secret in store.secrets:
            reason = reason.replace(secret, REDACTED)
        raise SourceError(f"{shown}: cannot be read: {reason}") from None

"""Files in object stores and on the web: find them by path or glob, and copy them one at a time."""

import http.client
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from jobs.ingest.files import SUCCESS, SkippedFile, check_format, no_file_error, skip_reason
from jobs.ingest.formats.chunks import first_line
from recsys.errors import SettingsError, SourceError
from recsys.settings.types import REDACTED, redact_address

TIMEOUT_SECONDS = 10  # to connect, and to wait for the next bytes
MAX_ATTEMPTS = 3
BLOCK_BYTES = 4 * 2**20
GLOB = re.compile(r"[*?\[]")
WEB = ("https", "http")
SCHEMES = ("s3", "gs", "az", *WEB)

# Name of the setting in Polars -> argument of the file system.
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
    """A file in a store; `display_name` is its address without secrets, `name` is matched with tables."""

    display_name: str
    name: str
    path: str
    store: "Store"

    def version(self) -> str:
        """Return a text that changes with the content, without reading it; empty if the store has none."""
        with _source_errors(self.display_name, self.store):
            return self.store.version(self.path)

    def fetch(self, directory: Path) -> Path:
        """Copy the file into a directory under its name; raises `SourceError` when it cannot be read to its end."""
        directory.mkdir(parents=True, exist_ok=True)
        target = directory / self.name
        with _source_errors(self.display_name, self.store), self.store.open(self.path) as (source, size):
            with target.open("wb") as file:
                shutil.copyfileobj(source, file, BLOCK_BYTES)
            if size is not None and target.stat().st_size != size:
                raise OSError(f"it ended after {target.stat().st_size} of {size} bytes")
        return target


class Store(Protocol):
    """A place where files are stored."""

    secrets: tuple[str, ...]

    def find(self, path: str) -> tuple[str, list[str]]:
        """Return the directory that was searched, and the files at a path, in a directory, or of a glob.

        Files `_SUCCESS` are among them whatever the glob. The directory is the path itself if it is a file.
        """
        ...

    def version(self, path: str) -> str:
        """Return a text that changes with a file's content."""
        ...

    def open(self, path: str) -> Any:
        """Open a file in a context: its bytes as a stream, and their number if it is known."""
        ...


class Bucket:
    """An object store, read by Arrow's file systems."""

    def __init__(self, filesystem: fs.FileSystem, secrets: tuple[str, ...]) -> None:
        self._filesystem = filesystem
        self.secrets = secrets

    def find(self, path: str) -> tuple[str, list[str]]:
        """Return the directory that was searched, and the files at a path, under a directory, or of a glob."""
        bucket = path.partition("/")[0]
        if GLOB.search(bucket) or not bucket:
            raise OSError("a bucket has a name without * ? [")
        if not GLOB.search(path):
            info = self._filesystem.get_file_info(path.rstrip("/"))
            if info.type == fs.FileType.File:
                return info.path, [info.path]
        fixed, pattern = _split(path)
        files = [
            file for file in self._files_under(fixed) if pattern.fullmatch(file) or file.endswith(f"/{SUCCESS}")
        ]
        if not files and self._filesystem.get_file_info(bucket).type == fs.FileType.NotFound:
            raise OSError("the bucket does not exist")
        return fixed, files

    def _files_under(self, directory: str) -> Iterator[str]:
        selector = fs.FileSelector(directory, allow_not_found=True, recursive=True)
        for info in self._filesystem.get_file_info(selector):
            if info.type == fs.FileType.File:
                yield info.path

    def version(self, path: str) -> str:
        """Return the entity tag, or the time of the last change if there is none, and the size."""
        info = self._filesystem.get_file_info(path)
        with self._filesystem.open_input_stream(path, compression=None) as stream:
            tag = (stream.metadata() or {}).get("ETag", b"").decode()
        return f"{tag or info.mtime_ns} {info.size}"

    @contextmanager
    def open(self, path: str) -> Generator[tuple[Any, int | None]]:
        """Open a file: its bytes as a stream, and their number."""
        size = self._filesystem.get_file_info(path).size
        with self._filesystem.open_input_stream(path, compression=None) as stream:
            yield stream, size


class Web:
    """Single files on web servers, read over HTTP."""

    secrets = ()

    def find(self, path: str) -> tuple[str, list[str]]:
        """Return the path itself."""
        return path, [path]

    def version(self, path: str) -> str:
        """Return the entity tag or time of the last change, and the size; empty if the server sends neither."""
        with _open_url(urllib.request.Request(path, method="HEAD")) as response:
            tag = response.headers["ETag"] or response.headers["Last-Modified"]
            return f"{tag} {response.headers['Content-Length']}" if tag else ""

    @contextmanager
    def open(self, path: str) -> Generator[tuple[Any, int | None]]:
        """Open a file: its bytes as a stream, and their number if the server sends it."""
        with _open_url(urllib.request.Request(path)) as response:
            size = response.headers["Content-Length"]
            yield response, None if size is None else int(size)


def _open_url(request: urllib.request.Request) -> Any:
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()  # releases the connection
        raise OSError(f"HTTP error {error.code} {error.reason}") from None


def is_remote(path: str) -> bool:
    """Return whether a path is an address; raises `SettingsError` for an unknown scheme."""
    scheme, separator, _ = path.partition("://")
    if separator and scheme not in SCHEMES:
        raise SettingsError(
            f"{redact_address(path)}: expected an address that begins with one of "
            f"{', '.join(f'{known}://' for known in SCHEMES)}"
        )
    return bool(separator)


def find_remote_files(
    paths: Iterable[str], options: Mapping[str, str], require_success: bool = False
) -> tuple[list[RemoteFile], list[SkippedFile]]:
    """Return every readable file at the given addresses, and the files that are skipped.

    Both are sorted and without duplicates. Raises `SourceError` for an address without a readable file.
    """
    stores: dict[str, Store] = {}
    files: dict[str, RemoteFile] = {}
    skipped: dict[str, str] = {}
    for address in paths:
        scheme = address.partition("://")[0]
        if scheme not in stores:
            stores[scheme] = _open_store(address, options)
        found, reasons = _expand(address, stores[scheme], require_success)
        files |= {file.display_name: file for file in found}
        skipped |= reasons
    return (
        [files[name] for name in sorted(files)],
        [SkippedFile(name, skipped[name]) for name in sorted(skipped.keys() - files)],
    )


def find_manifest(address: str, options: Mapping[str, str]) -> RemoteFile:
    """Return the file at an address, whatever its format."""
    return _remote_file(address, address.partition("://")[2], _open_store(address, options))


def _open_store(address: str, options: Mapping[str, str]) -> Store:
    with _source_errors(redact_address(address), Web()):
        return _connect(address.partition("://")[0], options)


def _remote_file(address: str, path: str, store: Store) -> RemoteFile:
    """Return a file; its path in a bucket is that after the scheme, on the web it is the address."""
    if address.partition("://")[0] in WEB:
        name = PurePosixPath(unquote(urlsplit(address).path)).name
        return RemoteFile(redact_address(address), name, address, store)
    return RemoteFile(f"{address.partition('://')[0]}://{path}", PurePosixPath(path).name, path, store)


def _expand(address: str, store: Store, require_success: bool) -> tuple[list[RemoteFile], dict[str, str]]:
    scheme, _, path = address.partition("://")
    if scheme in WEB:
        file = _remote_file(address, path, store)
        check_format(file.display_name, file.name)
        return [file], {}
    with _source_errors(address, store):
        root, keys = store.find(path)
    if keys == [root]:
        check_format(f"{scheme}://{root}", root)
        return [_remote_file(address, root, store)], {}
    marked = {str(PurePosixPath(key).parent) for key in keys if PurePosixPath(key).name == SUCCESS}
    has_marker = _contains(marked) if require_success else None
    files: list[RemoteFile] = []
    skipped: dict[str, str] = {}
    for key in keys:
        reason = skip_reason(PurePosixPath(key), PurePosixPath(root), has_marker)
        if reason is None:
            files.append(_remote_file(address, key, store))
        elif PurePosixPath(key).name != SUCCESS:
            skipped[f"{scheme}://{key}"] = reason
    if not files:
        raise no_file_error(address, skipped)
    return files, skipped


def _contains(folders: set[str]) -> Callable[[PurePath], bool]:
    return lambda folder: str(folder) in folders


def _connect(scheme: str, options: Mapping[str, str]) -> Store:
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
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=MAX_ATTEMPTS),
                request_timeout=TIMEOUT_SECONDS,
                connect_timeout=TIMEOUT_SECONDS,
                **_arguments(S3_OPTIONS, options),
            ),
            secrets,
        )
    if scheme == "gs":
        time_limit = timedelta(seconds=TIMEOUT_SECONDS * MAX_ATTEMPTS)
        return Bucket(fs.GcsFileSystem(anonymous=anonymous, retry_time_limit=time_limit), secrets)
    if not options.get("azure_storage_account_name"):
        raise SettingsError("sources.storage_options.azure_storage_account_name is missing")
    return Bucket(fs.AzureFileSystem(**_arguments(AZURE_OPTIONS, options)), secrets)


def _arguments(names: Mapping[str, str], options: Mapping[str, str]) -> dict[str, Any]:
    return {argument: options[name] for name, argument in names.items() if name in options}


def _split(path: str) -> tuple[str, re.Pattern[str]]:
    """Return the directory to search, and a pattern for the files in it; without a glob it matches all of them."""
    first = GLOB.search(path)
    if first is None:
        return path.rstrip("/"), re.compile(".*", re.DOTALL)
    return path[: first.start()].rpartition("/")[0], re.compile(_as_regex(path), re.DOTALL)


def _as_regex(pattern: str) -> str:
    """Return a glob as a regular expression.

    As in `glob.glob`, `*` and `?` match within a part of the path, `**` matches any number of parts.
    """
    parts = re.split(r"(\*\*/|\*|\?|\[!?[^\]]+\])", pattern)
    wildcards = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        wildcards.get(part) or (re.sub(r"^\[!", "[^", part) if part.startswith("[") else re.escape(part))
        for part in parts
    )


@contextmanager
def _source_errors(display_name: str, store: Store) -> Generator[None]:
    """Raise errors as a `SourceError` whose message is one line with the address and without secrets."""
    try:
        yield
    except (OSError, ValueError, pa.ArrowException, http.client.HTTPException) as error:
        reason = first_line(error)
        for secret in store.secrets:
            reason = reason.replace(secret, REDACTED)
        raise SourceError(f"{display_name}: cannot be read: {reason}") from None

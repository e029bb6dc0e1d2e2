"""Manifests: files that list the files of a source, as Redshift's UNLOAD writes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from jobs.ingest.files import absolute_path, is_manifest
from jobs.ingest.object_store import find_manifest, is_remote
from recsys.errors import SourceError
from recsys.settings.types import redact_address


@dataclass(frozen=True)
class Listed:
    """A path that a manifest lists, with the size that it gives in bytes, if any."""

    manifest: str
    path: str
    size: int | None = None


def expand_manifests(
    paths: Sequence[str], options: Mapping[str, str], scratch: Path
) -> tuple[list[str], list[Listed]]:
    """Return the paths with the entries of each manifest in its place, and what the manifests list.

    A manifest is JSON: `{"entries": [{"url": "s3://shop/events-1.csv"}]}`; a local path is relative to its
    directory. Raises `SourceError` for a manifest that cannot be read, and for a local file of it that is missing.
    """
    expanded: list[str] = []
    listed: list[Listed] = []
    for path in paths:
        entries = _entries(path, options, scratch)
        expanded += [path] if entries is None else [entry.path for entry in entries]
        listed += entries or []
    return expanded, listed


def check_listed(listed: Sequence[Listed], sizes: Mapping[str, int | None]) -> None:
    """Raise `SourceError` for a listed file that was not found, or that has another size than its manifest says."""
    for entry in listed:
        name = redact_address(entry.path)
        if name not in sizes:
            raise SourceError(f"{entry.manifest}: its file {name} is missing")
        size = sizes[name]
        if None not in (entry.size, size) and entry.size != size:
            raise SourceError(f"{entry.manifest}: its file {name} has {size} bytes; the manifest says {entry.size}")


def _entries(path: str, options: Mapping[str, str], scratch: Path) -> list[Listed] | None:
    """Return the entries of a manifest; None for a path that is not one."""
    if is_remote(path):
        if not is_manifest(Path(urlsplit(path).path).name):
            return None
        name = redact_address(path)
        copy = find_manifest(path, options).fetch(scratch / "fetched")
        content, folder = copy.read_bytes(), None
        copy.unlink()
    elif is_manifest(Path(path).name) and Path(path).is_file():
        name, folder = path, absolute_path(Path(path)).parent
        content = Path(path).read_bytes()
    else:
        return None
    return [_listed(entry, name, folder) for entry in _decoded(content, name)]


def _decoded(content: bytes, name: str) -> list[Any]:
    try:
        entries = msgspec.json.decode(content, type=dict[str, Any]).get("entries")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{name}: cannot be read as a manifest: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise SourceError(f'{name}: cannot be read as a manifest: expected {{"entries": [{{"url": …}}, …]}}')
    return entries


def _listed(entry: Any, name: str, folder: Path | None) -> Listed:
    url = entry.get("url") if isinstance(entry, dict) else None
    if not isinstance(url, str) or not url:
        raise SourceError(f'{name}: {entry!r} is no entry of a manifest; expected {{"url": …}}')
    meta = entry.get("meta")
    size = meta.get("content_length") if isinstance(meta, dict) else None
    size = size if isinstance(size, int) else None
    if url.startswith("file://"):
        url = unquote(urlsplit(url).path)
    if is_remote(url):
        return Listed(name, url, size)
    if folder is None:
        raise SourceError(f"{name}: {url!r} is no address; expected one such as s3://shop/events.csv")
    file = folder / url
    if not file.is_file():
        raise SourceError(f"{name}: its file {file} is missing")
    return Listed(name, str(absolute_path(file)), size)

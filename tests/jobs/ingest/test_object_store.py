"""Files in an S3-compatible server (moto), and on a web server."""

import gzip
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
import requests
from moto.server import ThreadedMotoServer

from jobs.ingest.commit import TableCount
from jobs.ingest.ingest import ingest
from jobs.ingest.object_store import find_remote_files
from jobs.lake.lake import Lake
from recsys.errors import SettingsError, SourceError
from recsys.settings import Sources, Table
from tests.commands import run_recsys
from tests.ingests import LATEST, hash_lake

COLUMNS = {name: name for name in ("user_id", "item_id", "event", "timestamp")}
SECRET = "s3cr3t-key"


@dataclass(frozen=True)
class Store:
    """A bucket `shop`, and the settings that lead to it."""

    url: str
    client: Any

    @property
    def options(self) -> dict[str, str]:
        """Storage options."""
        return {
            "aws_endpoint_url": self.url,
            "aws_access_key_id": "key",
            "aws_secret_access_key": SECRET,
            "aws_region": "us-east-1",
        }

    def put(self, key: str, content: bytes) -> None:
        """Put an object into the bucket."""
        self.client.put_object(Bucket="shop", Key=key, Body=content)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a running moto."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture
def store(server: str) -> Iterator[Store]:
    """An empty bucket."""
    requests.post(f"{server}/moto-api/reset", timeout=10)
    client = boto3.client(
        "s3",
        endpoint_url=server,
        aws_access_key_id="key",
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="shop")
    yield Store(server, client)
    client.close()


def events(*items: str) -> pl.DataFrame:
    """A view of each item."""
    return pl.DataFrame(
        [{"user_id": "ann", "item_id": item, "event": "view", "timestamp": "2024-05-01"} for item in items]
    )


def parquet(frame: pl.DataFrame, directory: Path) -> bytes:
    frame.write_parquet(directory / "scratch.parquet")
    return (directory / "scratch.parquet").read_bytes()


def ingest_objects(store: Store, lake: Lake, *paths: str, **table: Any) -> list[TableCount]:
    tables = (Table("log", "events", "*", {**COLUMNS}, **table),) if table else ()
    return ingest(paths, Sources(tables=tables, storage_options=store.options), lake, LATEST)


def test_objects_of_every_format_are_read_as_files_are(store: Store, lake: Lake, tmp_path: Path):
    store.put("logs/events-1.parquet", parquet(events("a", "b"), tmp_path))
    store.put("logs/events-2.csv", events("c").write_csv().encode())
    store.put("logs/2024/events-3.csv.gz", gzip.compress(events("d").write_csv().encode()))
    store.put("logs/2024/events-4.jsonl", events("e", "a b").write_ndjson().encode())
    store.put("logs/readme.txt", b"not read")
    counts = ingest_objects(store, lake, "s3://shop/logs")
    assert {count.file: (count.accepted, count.quarantined) for count in counts} == {
        "events-1.parquet": (2, 0),
        "events-2.csv": (1, 0),
        "events-3.csv.gz": (1, 0),
        "events-4.jsonl": (1, 1),
    }
    assert sorted(lake.events().collect()["item_id"]) == list("abcde")
    assert not list(lake.directory.glob(".*.partial"))


@pytest.mark.parametrize(
    ("address", "keys"),
    [
        ("s3://shop/a/events.csv", ["a/events.csv"]),
        ("s3://shop/a/*.csv", ["a/events.csv"]),
        ("s3://shop/*/events.csv", ["a/events.csv"]),
        ("s3://shop/**/events.csv", ["a/b/events.csv", "a/events.csv"]),
        ("s3://shop/a/**/events.csv", ["a/b/events.csv", "a/events.csv"]),
        ("s3://shop/a/b/item?-[0-2].csv", ["a/b/items-1.csv"]),
        ("s3://shop/a/b/items-[!2].csv", ["a/b/items-1.csv", "a/b/items-3.csv"]),
        ("s3://shop/a/", ["a/b/events.csv", "a/b/items-1.csv", "a/b/items-3.csv", "a/events.csv"]),
        ("s3://shop", ["a/b/events.csv", "a/b/items-1.csv", "a/b/items-3.csv", "a/events.csv", "ab/events.csv.gz"]),
        ("s3://shop/a*/events.csv*", ["a/events.csv", "ab/events.csv.gz"]),
    ],
)
def test_addresses_globs_and_prefixes_find_objects(store: Store, address: str, keys: list[str]):
    for key in (
        "a/events.csv",
        "a/b/events.csv",
        "a/b/items-1.csv",
        "a/b/items-3.csv",
        "ab/events.csv.gz",
        "a/c.pdf",
    ):
        store.put(key, b"a\n")
    files, _ = find_remote_files((address, address), store.options)
    assert [file.display_name for file in files] == [f"s3://shop/{key}" for key in keys]


def test_the_same_object_again_changes_no_byte_of_the_lake(store: Store, lake: Lake):
    store.put("events.csv", events("a", "b", "a b").write_csv().encode())
    ingest_objects(store, lake, "s3://shop/events.csv")
    before = hash_lake(lake)
    (count,) = ingest_objects(store, lake, "s3://shop/events.csv")
    assert (count.accepted, count.duplicates) == (0, 2)
    assert hash_lake(lake) == before


def test_a_file_and_its_copy_in_a_store_are_one(store: Store, lake: Lake, tmp_path: Path):
    (tmp_path / "events.csv").write_bytes(events("a").write_csv().encode())
    store.put("backup/events.csv", events("a").write_csv().encode())
    counts = ingest_objects(store, lake, str(tmp_path / "events.csv"), "s3://shop/backup/*")
    assert [count.accepted for count in counts] == [1, 0]
    assert len(list((lake.directory / "ingests").iterdir())) == 1


def test_an_object_that_is_known_is_not_fetched_again(store: Store, lake: Lake, monkeypatch: pytest.MonkeyPatch):
    store.put("events-1.csv", events("a").write_csv().encode())
    assert len(ingest_objects(store, lake, "s3://shop", watermark="timestamp")) == 1
    fetched: list[str] = []
    fetch = find_remote_files(("s3://shop",), store.options)[0][0].__class__.fetch

    def note(file: Any, directory: Path) -> Path:
        fetched.append(file.name)
        return fetch(file, directory)

    monkeypatch.setattr("jobs.ingest.object_store.RemoteFile.fetch", note)
    assert ingest_objects(store, lake, "s3://shop", watermark="timestamp") == []
    assert fetched == []
    store.put("events-1.csv", events("a", "b").write_csv().encode())
    (count,) = ingest_objects(store, lake, "s3://shop", watermark="timestamp")
    assert (count.accepted, fetched) == (1, ["events-1.csv"])


WRONG = {
    "a bucket that is not there": ("s3://nothing/logs/*.csv", {}, "the bucket does not exist"),
    "a prefix that is not there": ("s3://shop/nothing/*.csv", {}, r"no \.parquet, .* file found"),
    "an object that is not there": ("s3://shop/events-9.csv", {}, r"no \.parquet, .* file found"),
    "a bucket in an exact address": ("s3://nothing/events.csv", {}, "the bucket does not exist"),
    "an endpoint that does not answer": ("s3://shop/*.csv", {"aws_endpoint_url": "http://127.0.0.1:1"}, "connect"),
    "an unknown format": ("s3://shop/readme.md", {}, "unknown format; expected one of .parquet"),
    "a glob for a bucket": ("s3://sh*/events.csv", {}, "a bucket has a name without"),
    "an unknown option": (
        "s3://shop/*.csv",
        {"aws_acces_key": SECRET},
        "aws_acces_key: expected one",
    ),
    "an unknown scheme": ("ftp://shop/events.csv", {}, "expected an address that begins with one of s3://, gs://"),
}


@pytest.mark.parametrize(("address", "options", "reason"), WRONG.values(), ids=WRONG)
def test_missing_files_are_reported_in_one_line_and_leave_the_lake_unchanged(
    store: Store, lake: Lake, address: str, options: dict[str, str], reason: str
):
    store.put("events.csv", events("a").write_csv().encode())
    store.put("readme.md", b"text")
    ingest_objects(store, lake, "s3://shop/events.csv")
    before = hash_lake(lake)
    sources = Sources(storage_options=store.options | options)
    with pytest.raises((SourceError, SettingsError), match=reason) as error:
        ingest(("s3://shop/events.csv", address), sources, lake, LATEST)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
    assert hash_lake(lake) == before


def test_a_wrong_key_is_one_line(store: Store, lake: Lake):
    store.put("events.csv", events("a").write_csv().encode())
    requests.post(f"{store.url}/moto-api/reset-auth", data=b"0", timeout=10)
    try:
        for address in ("s3://shop/events.csv", "s3://shop/*.csv"):
            with pytest.raises(SourceError, match=f"^{address.replace('*', '.')}: cannot be read: .*A") as error:
                ingest_objects(store, lake, address)
            assert "\n" not in str(error.value)
            assert SECRET not in str(error.value)
    finally:
        requests.post(f"{store.url}/moto-api/reset-auth", data=b"inf", timeout=10)


def test_the_error_in_an_object_names_its_address(store: Store, lake: Lake):
    store.put("events-1.csv", b"user_id,item_id\nann,tea\n")
    store.put("events-2.parquet", b"no parquet")
    for name, reason in (
        ("events-1.csv", "column 'event' of table"),
        ("events-2.parquet", "cannot be read as parquet"),
    ):
        with pytest.raises(SourceError, match=f"^s3://shop/{name}: {reason}"):
            ingest_objects(store, lake, f"s3://shop/{name}")


def test_the_command_reads_a_store_by_the_variables_of_aws(store: Store, tmp_path: Path):
    store.put("logs/events.csv", events("a").write_csv().encode())
    ended = run_recsys(
        *(tmp_path, tmp_path / "var", "ingest", "s3://shop/logs/*.csv", "--json"),
        AWS_ENDPOINT_URL=store.url,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY=SECRET,
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["sources"][0]["accepted"] == 1
    assert SECRET.encode() not in b"".join(file.read_bytes() for file in (tmp_path / "var").rglob("*.*"))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a directory; one whose name begins with `short` ends too early."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send the file, or half of it."""
        content = source.read()
        outputfile.write(content[: len(content) // 2] if "short" in self.path else content)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a directory `web` with two files of events."""
    (tmp_path / "web").mkdir()
    for name in ("events.csv", "events-short.csv"):
        (tmp_path / "web" / name).write_text(events("a", "b").write_csv())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "web")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_on_the_web_is_read(web: str, lake: Lake):
    table = Table("log", "events", "events*", {**COLUMNS}, watermark="timestamp")
    address = f"{web}/events.csv?signature=s3cr3t"
    (count,) = ingest((address,), Sources(tables=(table,)), lake, LATEST)
    assert (count.file, count.accepted) == ("events.csv", 2)
    assert ingest((address,), Sources(tables=(table,)), lake, LATEST) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/events-9.csv?signature=s3cr3t", "cannot be read: HTTP error 404"),
        ("/events-short.csv?signature=s3cr3t", r"cannot be read: it ended after \d+ of \d+ bytes"),
        ("/stores.csv?signature=s3cr3t", "no table reads a file of this name"),
        ("/?signature=s3cr3t", "unknown format"),
    ],
)
def test_a_file_on_the_web_that_cannot_be_read_is_reported_without_its_signature(
    web: str, lake: Lake, path: str, reason: str
):
    with pytest.raises(SourceError, match=reason) as error:
        ingest((f"{web}{path}",), Sources(), lake, LATEST)
    assert str(error.value).startswith(f"{web}{path.partition('?')[0]}: ")
    assert "s3cr3t" not in str(error.value)


def test_objects_that_are_not_read_are_reported(store: Store):
    for key in ("a/events-1.csv", "a/_SUCCESS", "b/events-2.csv", "b/.events-3.csv", "b/events-4.pdf"):
        store.put(key, events("a").write_csv().encode())
    for address in ("s3://shop", "s3://shop/*/*e*"):
        files, skipped = find_remote_files((address,), store.options)
        assert [file.name for file in files] == ["events-1.csv", "events-2.csv"]
        reasons = {file.file: file.reason.partition(";")[0] for file in skipped}
        assert reasons == {
            "s3://shop/b/.events-3.csv": "it is hidden",
            "s3://shop/b/events-4.pdf": "unknown format",
        }
    files, skipped = find_remote_files(("s3://shop/*/*.csv",), store.options, require_success=True)
    assert [file.display_name for file in files] == ["s3://shop/a/events-1.csv"]
    assert "s3://shop/b/events-2.csv" in [file.file for file in skipped]


def test_a_manifest_in_a_store_stands_for_its_objects(store: Store, lake: Lake):
    for number in range(3):
        store.put(f"unload/events-{number}.csv", events(str(number)).write_csv().encode())
    urls = [{"url": f"s3://shop/unload/events-{number}.csv"} for number in (0, 2)]
    store.put("unload/manifest.json", json.dumps({"entries": urls}).encode())
    counts = ingest_objects(store, lake, "s3://shop/unload/manifest.json")
    assert [count.file for count in counts] == ["events-0.csv", "events-2.csv"]
    store.put(
        "unload/manifest.json", json.dumps({"entries": [*urls, {"url": "s3://shop/unload/events-9.csv"}]}).encode()
    )
    with pytest.raises(SourceError, match=r"events-9\.csv"):
        ingest_objects(store, lake, "s3://shop/unload/manifest.json")

import hashlib
import os
from pathlib import Path

import pytest

from recsys.files import atomic_write, fingerprint, flush, read_json, remove_partial, write_json


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_there_when_it_is_whole_and_not_before(tmp_path: Path):
    target = tmp_path / "deep" / "a.txt"
    with atomic_write(target) as aside:
        aside.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(target.parent) == ["a.txt"]


def test_a_file_that_could_not_be_written_leaves_the_old_one(tmp_path: Path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic_write(target) as aside:
            aside.write_text("half")
            raise ValueError("no space")

    with pytest.raises(ValueError, match="no space"):
        fail()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_directory_replaces_the_old_one_with_all_that_was_in_it(tmp_path: Path):
    target = tmp_path / "model"
    for name in ("old", "new"):
        with atomic_write(target) as aside:
            aside.mkdir()
            (aside / name).touch()
    assert names(target) == ["new"]
    assert names(tmp_path) == ["model"]


def test_a_directory_that_could_not_be_written_leaves_the_old_one(tmp_path: Path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()

    def fail() -> None:
        with atomic_write(target) as aside:
            aside.mkdir()
            (aside / "half").touch()
            raise ValueError("no space")

    with pytest.raises(ValueError, match="no space"):
        fail()
    assert names(tmp_path) == ["model"]
    assert names(target) == ["old"]


def test_what_an_earlier_try_left_is_not_taken_for_new(tmp_path: Path):
    left = tmp_path / f".model.{os.getpid()}.partial"
    left.mkdir()
    (left / "half").touch()
    with atomic_write(tmp_path / "model") as aside:
        aside.mkdir()
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == []


def test_only_what_is_unfinished_is_removed(tmp_path: Path):
    unfinished = tmp_path / "day" / ".a.parquet.4711.partial"
    unfinished.parent.mkdir()
    unfinished.touch()
    (tmp_path / ".staging.partial" / ".b.partial").mkdir(parents=True)
    for name in (".lock", "a.partial", ".hidden"):
        (tmp_path / name).touch()
    remove_partial(tmp_path)
    assert names(tmp_path) == [".hidden", ".lock", "a.partial", "day"]
    assert names(tmp_path / "day") == []


def test_json_comes_back_and_is_the_same_bytes_whatever_the_order(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5, None], "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json") == {"a": "é", "b": [1, 2.5, None]}
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_bytes().endswith(b"}\n")


def test_a_fingerprint_is_the_sha_256_of_the_content(tmp_path: Path):
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    assert fingerprint(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_what_is_flushed_has_to_be_there(tmp_path: Path):
    (tmp_path / "a").write_text("a")
    flush([tmp_path / "a"])
    with pytest.raises(FileNotFoundError):
        flush([tmp_path / "a", tmp_path / "b"])

"""Parquet loads with `datasets` and says to the Hub what it is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import nanobanana_batch as nb
from nanobanana_batch.exports import parquet
from nanobanana_batch.files.disk import Disk
from tests.exports.finished import Made, make_folder, picture
from tests.exports.test_imagefolder import equals

CALLED = {"image": "var_image"}


def undecoded(found: Any) -> Any:
    """With the bytes of each picture."""
    return {name: part.cast_column("image", datasets.Image(decode=False)) for name, part in found.items()}


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nb.Exported]:
    """In two parts, of shards so small that there are several."""
    path = tmp_path_factory.mktemp("parquet") / "set"
    return path, nb.export(run, "parquet", path, split="train=0.6,holdout=0.4", max_size=400)


def test_it_equals_the_run(exported: Any, run: Path, rows: Sequence[Made], tmp_path: Path) -> None:
    """By the path of the folder; the parts have the names that were asked for."""
    path, done = exported
    found = datasets.load_dataset(str(path), cache_dir=str(tmp_path))
    assert {name: len(part) for name, part in found.items()} == done.splits
    assert set(done.splits) == {"train", "holdout"}
    assert found["train"].features == found["holdout"].features
    assert found["train"][0]["image"].size == (16, 16)
    equals(undecoded(found), run, rows, CALLED)


def test_shards_load_without_the_card(exported: Any, run: Path, rows: Sequence[Made], tmp_path: Path) -> None:
    """The types stand in each shard, too."""
    files = [str(path) for path in sorted(exported[0].glob("data/*.parquet"))]
    found = datasets.load_dataset("parquet", data_files={"both": files}, cache_dir=str(tmp_path))
    assert isinstance(found["both"].features["image"], datasets.Image)
    equals(undecoded(found), run, rows, CALLED)


def test_shards_have_the_names_and_the_size_that_were_asked_for(exported: Any) -> None:
    """One number tells how many there are; a picture that is larger alone stands alone."""
    files = sorted(path.name for path in exported[0].glob("data/train-*.parquet"))
    assert len(files) > 2
    assert files == [f"train-{number:05d}-of-{len(files):05d}.parquet" for number in range(len(files))]
    for path in exported[0].glob("data/*.parquet"):
        pictures = [len(each["bytes"]) for each in pq.read_table(path)["image"].to_pylist()]
        assert sum(pictures) <= 400 or len(pictures) == 1


def test_the_card_and_the_shards_say_the_same(exported: Any) -> None:
    """What the Hub's viewer reads: features, parts, and how many there are of each."""
    path, done = exported
    told = yaml.safe_load((path / "README.md").read_text("utf-8").split("---\n")[1])
    info = told["dataset_info"]
    assert {part["name"]: part["num_examples"] for part in info["splits"]} == done.splits
    assert all(part["num_bytes"] > 0 for part in info["splits"])
    schema = pq.read_schema(next(path.glob("data/*.parquet")))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert [each["name"] for each in info["features"]] == list(features) == schema.names
    assert features["image"] == {"_type": "Image"}
    assert told["configs"][0]["data_files"][0] == {"split": "train", "path": "data/train-*"}


def test_row_groups_have_a_hundred_rows(tmp_path: Path) -> None:
    """What the Hub's viewer reads at once."""
    run = make_folder(tmp_path / "out", [Made(f"r{number}") for number in range(210)])
    nb.export(run, "parquet", tmp_path / "set")
    found = pq.ParquetFile(tmp_path / "set/data/train-00000-of-00001.parquet").metadata
    assert [found.row_group(number).num_rows for number in range(found.num_row_groups)] == [100, 100, 10]


def test_large_pictures_make_smaller_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory at a time does not grow with the weight of a picture."""
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 250_000)
    data = [picture(f"{number}") + b"0" * 100_000 for number in range(7)]
    run = make_folder(tmp_path / "out", [Made(f"r{number}", data=each) for number, each in enumerate(data)])
    nb.export(run, "parquet", tmp_path / "set")
    found = pq.ParquetFile(tmp_path / "set/data/train-00000-of-00001.parquet")
    groups = range(found.metadata.num_row_groups)
    assert [found.metadata.row_group(number).num_rows for number in groups] == [3, 3, 1]
    assert [row["bytes"] for row in found.read()["image"].to_pylist()] == data


class _Row(dict[str, Any]):
    """One that says when it is gone."""


def test_a_row_is_given_back_before_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture may have many megabytes; two of them at once are one too many."""
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 10)
    made: list[weakref.ref[_Row]] = []
    held = []

    def rows() -> Iterator[dict[str, Any]]:
        for _ in range(3):
            held.append([each() is not None for each in made])
            row = _Row(image={"bytes": b"0" * 10, "path": "a"})
            made.append(weakref.ref(row))
            waiting = [row]
            del row
            yield waiting.pop()

    for group in parquet._groups(rows()):
        group.clear()
    assert held == [[], [False], [False, False]]


class _NotByPython(io.FileIO):
    """What is written here has been copied for it."""

    def write(self, data: object) -> int:
        raise AssertionError(data)


class _Own:
    """A place with files of its own kind."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        yield self._file


def test_pages_are_written_without_a_copy_of_each(tmp_path: Path) -> None:
    """Arrow writes the file itself; one that only counts, and is no file, is written to as ever."""
    schema = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    rows = [{"image": {"bytes": bytes([number]) * 1000, "path": f"{number}"}} for number in range(3)]
    path = tmp_path / "own.parquet"
    beside = io.BytesIO()
    with _NotByPython(path, "w") as file:
        size = parquet.write_rows(cast("Any", _Own(cast("Any", file))), "own", schema, rows)
    assert parquet.write_rows(cast("Any", _Own(beside)), "own", schema, rows) == size
    assert pq.read_table(path).to_pylist() == rows
    assert path.read_bytes() == beside.getvalue()


def test_a_full_disk_is_told_of_a_shard(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow's error is one of the disk, with what to do."""
    create = Disk.create

    def full(disk: Disk, path: Path) -> int:
        return os.open("/dev/full", os.O_WRONLY) if ".parquet" in path.name else create(disk, path)

    monkeypatch.setattr(Disk, "create", full)
    with pytest.raises(nb.DiskFailed, match="full"):
        nb.export(run, "parquet", tmp_path / "set")


def test_a_shard_has_a_bounded_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small pictures are: what is kept of each row group until the end of a file is bounded, too."""
    monkeypatch.setattr(parquet, "_MOST_ROWS", 3)
    run = make_folder(tmp_path / "out", [Made(f"r{number}") for number in range(7)])
    nb.export(run, "parquet", tmp_path / "set")
    files = sorted((tmp_path / "set/data").glob("*.parquet"))
    assert [pq.read_metadata(file).num_rows for file in files] == [3, 3, 1]


def test_paths_may_stand_in_the_place_of_bytes(run: Path, rows: Sequence[Made], tmp_path: Path) -> None:
    """The pictures are then read from the run's own folder."""
    nb.export(run, "parquet", tmp_path / "set", paths_only=True)
    assert sum(path.stat().st_size for path in (tmp_path / "set").rglob("*.parquet")) < 100_000
    found = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    equals(undecoded(found), run, rows, CALLED)


def test_the_same_run_makes_the_same_bytes(run: Path, tmp_path: Path, exported: Any) -> None:
    """Card and all."""
    path, _ = exported
    nb.export(run, "parquet", tmp_path / "set", split="train=0.6,holdout=0.4", max_size=400)

    def hashes(folder: Path) -> dict[str, str]:
        return {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in folder.rglob("*")
            if file.is_file()
        }

    assert hashes(tmp_path / "set") == hashes(path)


def test_without_pyarrow_it_says_how_to_get_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written."""
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(nb.UsageError, match=r"nanobanana-batch\[parquet\]"):
        nb.export(run, "parquet", tmp_path / "set")
    assert list(tmp_path.iterdir()) == []

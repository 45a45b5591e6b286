"""`load_dataset("imagefolder", data_dir=...)` gives the run back: each picture, each text, as texts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import datasets
import pytest

import nanobanana_batch as nb
from nanobanana_batch.exports import imagefolder
from tests.exports.finished import Made, make_folder, picture

SPLIT = "train=0.6,test=0.4"
CALLED = {
    "file_name": "file_name_text",
    "image": "var_image",
    "source_file_name": "source_file_name_text",
}


def loaded(path: Path, cache: Path) -> Any:
    """As a trainer loads it."""
    found = datasets.load_dataset("imagefolder", data_dir=str(path), cache_dir=str(cache))
    return {name: part.cast_column("image", datasets.Image(decode=False)) for name, part in found.items()}


def equals(parts: Any, run: Path, rows: Sequence[Made], called: dict[str, str]) -> None:
    """All parts together are the run: ids, prompts, variables and bytes."""
    done = {row.id: row for row in rows if row.end == "saved"}
    samples = [sample for part in parts.values() for sample in part]
    assert sorted(sample["id"] for sample in samples) == sorted(done)
    names = {name for row in rows for name in row.variables}
    with nb.open_run(run) as folder:
        made = {row.id: row for row in folder}
    for sample in samples:
        row = made[sample["id"]]
        assert sample["prompt"] == row.request.prompt
        assert {name: sample[called.get(name, name)] for name in names} == {
            name: row.variables.get(name, "") for name in names
        }
        assert row.image is not None
        data = sample["image"]["bytes"] or Path(sample["image"]["path"]).read_bytes()
        assert data == row.image.read_bytes()


def test_it_equals_the_run(run: Path, rows: Sequence[Made], tmp_path: Path) -> None:
    """Whatever texts look like; all parts have the same types."""
    done = nb.export(run, "imagefolder", tmp_path / "set", split=SPLIT)
    parts = loaded(tmp_path / "set", tmp_path / "cache")
    assert {name: len(part) for name, part in parts.items()} == done.splits
    assert min(done.splits.values()) > 0
    assert parts["train"].features == parts["test"].features
    texts = {name for name, kind in parts["train"].features.items() if kind == datasets.Value("string")}
    assert {CALLED.get(name, name) for row in rows for name in row.variables} <= texts
    equals(parts, run, rows, CALLED)


def test_the_card_does_not_stand_in_the_way(run: Path, tmp_path: Path) -> None:
    """The folder loads by its path, too, where the card's types count."""
    done = nb.export(run, "imagefolder", tmp_path / "set", split=SPLIT)
    found = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(part) for name, part in found.items()} == done.splits
    assert found["train"][0]["image"].size == (16, 16)


@pytest.mark.parametrize(
    ("values", "name"),
    [(("2026-01-01", "plain"), "metadata.jsonl"), (("2026-01-01", "2026-01-02 10:00"), "metadata.parquet")],
    ids=["a date among texts", "nothing but dates"],
)
def test_dates_stay_texts(tmp_path: Path, values: tuple[str, ...], name: str) -> None:
    """Where the loader would take a column for dates, its metadata has types."""
    rows = [Made(f"r{number}", variables={"when": value}) for number, value in enumerate(values)]
    run = make_folder(tmp_path / "out", rows)
    nb.export(run, "imagefolder", tmp_path / "set")
    assert [path.name for path in tmp_path.glob("set/train/metadata.*")] == [name]
    equals(loaded(tmp_path / "set", tmp_path / "cache"), run, rows, {})


def test_ratings_of_a_few_are_numbers_in_every_part(tmp_path: Path) -> None:
    """Also in a part where nobody has rated anything."""
    run = make_folder(tmp_path / "out", [Made(f"r{number}") for number in range(6)])
    with nb.open_run(run) as folder:
        row = folder.row("r0")
        assert row.image is not None
        digest = sha256(row.image.read_bytes()).hexdigest()
    (run / "ratings.csv").write_text(
        f"id,image,rating,verdict,rating_note,row_key,sha256\nr0,images/r0.png,4,accepted,,{row.row_key},{digest}\n"
    )
    nb.export(run, "imagefolder", tmp_path / "set", split="train=0.5,test=0.5")
    parts = loaded(tmp_path / "set", tmp_path / "cache")
    assert parts["train"].features == parts["test"].features
    assert parts["train"].features["rating"] == datasets.Value("int64")
    told = {sample["id"]: sample["rating"] for part in parts.values() for sample in part}
    assert told == {"r0": 4, **{f"r{number}": None for number in range(1, 6)}}


def test_many_files_stand_in_several_folders(
    run: Path, rows: Sequence[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder has more than the Hub takes, and the loader finds each picture."""
    monkeypatch.setattr(imagefolder, "MOST_FILES", 5)
    nb.export(run, "imagefolder", tmp_path / "set")
    folders = [path for path in (tmp_path / "set").rglob("*") if path.is_dir()]
    assert len(folders) > 3
    assert max(len(list(path.iterdir())) for path in folders) <= 5
    equals(loaded(tmp_path / "set", tmp_path / "cache"), run, rows, CALLED)


@pytest.mark.parametrize("link", ["copy", "hard", "symlink"])
def test_pictures_are_copied_or_linked(run: Path, tmp_path: Path, link: Any) -> None:
    """As it was asked for; a copy is a file of its own, which may be edited."""
    nb.export(run, "imagefolder", tmp_path / "set", link=link)
    source, made = run / "images" / "row-0.png", tmp_path / "set" / "train" / "row-0.png"
    assert made.is_symlink() is (link == "symlink")
    assert os.path.samefile(source, made) is (link != "copy")
    assert made.read_bytes() == source.read_bytes()


def test_pictures_that_cannot_be_linked_are_copied(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To another disk, for example; how many is told."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    done = nb.export(run, "imagefolder", tmp_path / "set", link="hard")
    assert done.copied_instead_of_linked == done.samples
    source, made = run / "images" / "row-0.png", tmp_path / "set" / "train" / "row-0.png"
    assert made.read_bytes() == source.read_bytes()


def test_names_are_portable_and_differ_by_more_than_case(run: Path, tmp_path: Path) -> None:
    """They are the ids wherever that can be; all pictures of a row are told apart."""
    nb.export(run, "imagefolder", tmp_path / "set", images="all")
    text = (tmp_path / "set/train/metadata.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    names = [line["file_name"] for line in lines]
    assert all(name.isascii() and name.count(".") == 1 for name in names)
    assert len({name.lower() for name in names}) == len(names)
    called = {(line["id"], line["image_number"]): line["file_name"] for line in lines}
    assert called["row-1", 1] == "row-1.jpg"
    assert called["row 1", 1].startswith("row-1-")
    assert called["several", 3] == "several-3.png"


def test_other_parts_than_the_loader_knows_are_refused(run: Path, tmp_path: Path) -> None:
    """It would take their pictures for those of another part."""
    with pytest.raises(nb.UsageError, match="train, validation, test"):
        nb.export(run, "imagefolder", tmp_path / "set", split="train=9,holdout=1")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_was_changed_is_left_out_and_told(tmp_path: Path) -> None:
    """Though its size and time are those of the one that was saved."""
    run = make_folder(tmp_path / "out", [Made("good"), Made("bad"), Made("gone")])
    bad = run / "images" / "bad.png"
    before = bad.stat()
    bad.write_bytes(picture("another")[: before.st_size].ljust(before.st_size, b"\0"))
    os.utime(bad, ns=(before.st_atime_ns, before.st_mtime_ns))
    (run / "images" / "gone.png").unlink()
    done = nb.export(run, "imagefolder", tmp_path / "set")
    assert done.samples == 1
    assert done.left_out == {"changed since they were saved": 1, "rows without an image": 1}
    assert [path.name for path in (tmp_path / "set/train").glob("*.png")] == ["good.png"]

"""Edits, read by `datasets` and `webdataset`, and prepared as diffusers' InstructPix2Pix example does it."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nanobanana_batch.api.exporting import export
from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.samples import read_picture
from tests.exports.loading import datasets_from
from tests.exports.runs import HOSTILE, Made, make, picture

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class World:
    """Photos, and three runs of which each edits what the one before has made."""

    def __init__(self, folder: Path) -> None:
        self.photos = [folder / f"photo {n}.jpg" for n in range(4)]
        for n, path in enumerate(self.photos):
            path.write_bytes(picture(100 + n, "JPEG", (40, 30)))
        self.first = make(
            folder / "first",
            [
                Made("snow0", (picture(1),), HOSTILE[0], {"style": "a"}, (self.photos[0],)),
                Made("night0", (picture(2),), "night", {"style": "b"}, (self.photos[0],)),
                Made("snow1", (picture(3),), HOSTILE[0], {}, (self.photos[1],)),
                Made("two", (picture(4),), "join them", {}, (self.photos[2], self.photos[3])),
                Made("link", (picture(5),), "snow", {}, ("https://example.com/x.png",)),
                Made("drawn", (picture(6),), "a cat"),
                Made("failed", (), "snow", {}, (self.photos[3],)),
            ],
        )
        self.second = make(
            folder / "second",
            [
                Made("again", (picture(7),), "more snow", {}, (self.first / "images/snow0.png",)),
                Made("dressed", (picture(8),), "a hat", {}, (self.first / "images/drawn.png",)),
            ],
        )
        self.third = make(
            folder / "third",
            [Made("more.still", (picture(9),), "even more", {}, (self.second / "images/again.png",))],
        )
        self.runs = [self.first, self.second, self.third]

    @property
    def triplets(self) -> list[tuple[bytes, str, bytes]]:
        """All edits whose source can be had, in order."""
        photo = [path.read_bytes() for path in self.photos]
        return [
            (photo[0], HOSTILE[0], picture(1)),
            (photo[0], "night", picture(2)),
            (photo[1], HOSTILE[0], picture(3)),
            (photo[2], "join them", picture(4)),
            (picture(1), "more snow", picture(7)),
            (picture(6), "a hat", picture(8)),
            (picture(7), "even more", picture(9)),
        ]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("edits"))


def pixels(data: bytes | Image.Image) -> np.ndarray[Any, Any]:
    image = data if isinstance(data, Image.Image) else Image.open(io.BytesIO(data))
    return np.asarray(image.convert("RGB"))


def same(rows: Any, triplets: list[tuple[bytes, str, bytes]]) -> bool:
    """Whether the columns that diffusers names hold these."""
    return len(rows) == len(triplets) and all(
        (pixels(row["input_image"]) == pixels(before)).all()
        and row["edit_prompt"] == prompt
        and (pixels(row["edited_image"]) == pixels(after)).all()
        for row, (before, prompt, after) in zip(rows, triplets, strict=True)
    )


@pytest.mark.parametrize("layout", ["parquet", "imagefolder"])
def test_datasets_reads_the_triplets(world: World, tmp_path: Path, layout: Any) -> None:
    """Over all three runs, with the three columns first, as the script takes them where none is named."""
    done = export(world.runs, "edits", tmp_path / "out", layout=layout)
    kind, place = (
        ("imagefolder", tmp_path / "out") if layout == "imagefolder" else (str(tmp_path / "out"), None)
    )
    rows = datasets_from(kind, place, tmp_path)["train"]
    assert rows.column_names[:3] == ["input_image", "edit_prompt", "edited_image"]
    assert same(rows, world.triplets)
    assert done.left_out == {
        "rows without an image": 1,
        "not made from another picture": 1,
        "made from a picture behind a link, which cannot be had": 1,
    }
    assert [row["sources"] for row in rows] == [1, 1, 1, 2, 1, 1, 1]
    card = (tmp_path / "out/README.md").read_text()
    assert "1 were made from several images" in card


def test_chains_are_told(world: World, tmp_path: Path) -> None:
    """An edit of an edit of an edit, over three folders."""
    export(world.runs, "edits", tmp_path / "out")
    rows = datasets_from(str(tmp_path / "out"), None, tmp_path)["train"]
    by_id = {row["id"]: row for row in rows}
    chain = [by_id[id] for id in ("snow0", "again", "more.still")]
    assert [row["turn"] for row in chain] == [1, 2, 3]
    assert len({row["chain"] for row in chain}) == 1
    assert [row["parent"] for row in chain] == ["", "first/snow0", "second/again"]
    assert (by_id["dressed"]["turn"], by_id["dressed"]["parent"]) == (1, "first/drawn")
    assert len({row["chain"] for row in rows}) == 4


@pytest.mark.parametrize("seed", range(6))
def test_a_chain_and_a_source_are_never_in_two_parts(world: World, tmp_path: Path, seed: int) -> None:
    """Also where the edit between two of them is not chosen; the same words for another photo may be."""
    export(world.runs, "edits", tmp_path / "out", split="train=0.5,test=0.5", seed=seed, where="id!=again")
    found = datasets_from(str(tmp_path / "out"), None, tmp_path)
    ids = [{row["id"] for row in found[name]} for name in ("train", "test")]
    assert sorted(map(len, ids)) != [0, 6]
    together = {"snow0", "night0", "more.still"}
    assert any(together <= each for each in ids)


def test_webdataset_reads_the_triplets(world: World, tmp_path: Path) -> None:
    """By `k.input.jpg`, `k.output.jpg` and `k.json`."""
    import webdataset

    out = tmp_path / "out"
    with pytest.raises(UsageError, match="jpg and png images"):
        export(world.runs, "edits", out, layout="webdataset")
    assert not out.exists()
    export(world.runs, "edits", out, layout="webdataset", convert="png")
    samples = list(
        webdataset.WebDataset([str(out / "train-000000.tar")], shardshuffle=False, empty_check=False)
    )
    told = [json.loads(sample["json"]) for sample in samples]
    rows = [
        {
            "input_image": Image.open(io.BytesIO(sample["input.png"])),
            "edited_image": Image.open(io.BytesIO(sample["output.png"])),
            **one,
        }
        for sample, one in zip(samples, told, strict=True)
    ]
    assert same(rows, world.triplets)
    assert {row["__key__"] for row in datasets_from("webdataset", out, tmp_path)["train"]} == {
        sample["__key__"] for sample in samples
    }


def test_a_first_batch_as_the_example_makes_it(world: World, tmp_path: Path) -> None:
    """Its steps, on the columns as they were loaded: RGB, one size, channels first, both in [-1, 1]."""
    export(world.runs, "edits", tmp_path / "out", layout="imagefolder")
    data_files = {"train": os.path.join(tmp_path / "out/train", "**")}
    dataset = datasets_from("imagefolder", None, tmp_path, data_files=data_files)["train"]
    first, second, third = dataset.column_names[:3]

    def as_array(image: Image.Image, resolution: int = 16) -> np.ndarray[Any, Any]:
        return np.array(image.convert("RGB").resize((resolution, resolution))).transpose(2, 0, 1)

    batch = dataset[:4]
    originals = np.concatenate([as_array(image) for image in batch[first]])
    edited = np.concatenate([as_array(image) for image in batch[third]])
    both = 2 * (np.concatenate([originals, edited]) / 255) - 1
    before, after = np.split(both, 2)
    before, after = before.reshape(-1, 3, 16, 16), after.reshape(-1, 3, 16, 16)
    assert before.shape == after.shape == (4, 3, 16, 16)
    assert (both.min() >= -1) & (both.max() <= 1)
    wanted = Image.open(world.photos[0]).convert("RGB").resize((16, 16))
    assert (before[0] == 2 * (np.array(wanted).transpose(2, 0, 1) / 255) - 1).all()
    assert list(batch[second]) == [prompt for _, prompt, _ in world.triplets[:4]]


def test_a_source_that_moved_is_found_by_its_content(tmp_path: Path) -> None:
    """Among the pictures of the folders that are exported; without them it is gone, and told so."""
    world = World(tmp_path)
    os.rename(world.first, tmp_path / "moved")
    world.photos[0].write_bytes(b"another")
    with pytest.raises(UsageError, match="Of 2 edits none has its source picture"):
        export(world.second, "edits", tmp_path / "alone")
    assert not (tmp_path / "alone.part").exists()
    done = export([tmp_path / "moved", world.second], "edits", tmp_path / "both")
    rows = datasets_from(str(tmp_path / "both"), None, tmp_path)["train"]
    assert [row["id"] for row in rows] == ["snow1", "two", "again", "dressed"]
    assert done.left_out["made from a picture that is gone or was changed"] == 2
    assert (pixels(rows[2]["input_image"]) == pixels(picture(1))).all()


def test_a_source_that_comes_back_makes_another_export(tmp_path: Path) -> None:
    """Although the runs are as they were."""
    world = World(tmp_path)
    photo = world.photos[1].read_bytes()
    world.photos[1].unlink()
    assert export(world.first, "edits", tmp_path / "out").samples == 3
    assert not export(world.first, "edits", tmp_path / "out").is_new
    world.photos[1].write_bytes(photo)
    assert export(world.first, "edits", tmp_path / "out").samples == 4


@pytest.mark.parametrize("layout", ["parquet", "imagefolder", "webdataset"])
def test_one_that_was_broken_off_becomes_the_same(
    world: World, tmp_path: Path, layout: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, and without the pictures of before under other names."""
    export(world.runs, "edits", tmp_path / "whole", layout=layout, convert="jpg")
    calls: list[Any] = []

    def dies(one: Any) -> bytes:
        calls.append(one)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return read_picture(one)

    monkeypatch.setattr("nanobanana_batch.exports.edits.read_picture", dies)
    with pytest.raises(KeyboardInterrupt):
        export(world.runs, "edits", tmp_path / "out", layout=layout, convert="jpg")
    monkeypatch.undo()
    export(world.runs, "edits", tmp_path / "out", layout=layout, convert="jpg")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_run_without_edits_has_nothing_to_export(tmp_path: Path) -> None:
    """And says why."""
    run = make(tmp_path / "run", [Made("a", (picture(1),))])
    with pytest.raises(UsageError, match="1 not made from another picture"):
        export(run, "edits", tmp_path / "out")

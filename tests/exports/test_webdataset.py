"""WebDataset shards, read by `webdataset` and by `datasets`."""

from __future__ import annotations

import io
import json
import tarfile
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
    # They leave files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ROWS = [
    *(
        Made(f"row {n}.v{n}", (picture(n),), prompt, {"style": "ink" if n % 2 else ""})
        for n, prompt in enumerate(HOSTILE)
    ),
    Made("Cat", (picture(20),), "upper", {"style": "a"}),
    Made("cat~2", (picture(21), picture(22)), "several", {"style": "a"}),
    Made("a" * 118, (picture(23),), "long", {"style": "b"}),
    Made("é.ü", (picture(24),), "accents"),
    Made("failed"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("wds") / "run", ROWS)


@pytest.fixture(scope="module")
def out(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pictures of all rows, in shards of a few."""
    out = tmp_path_factory.mktemp("wds") / "cats-test"
    done = export(run, "webdataset", out, images="all", max_size="8KB")
    assert done.samples == 11
    return out


def expected() -> list[tuple[str, bytes]]:
    return [(row.prompt, data) for row in ROWS for data in row.pictures]


def shards(out: Path) -> list[Path]:
    return sorted(out.glob("*.tar"))


def members(out: Path) -> list[tarfile.TarInfo]:
    found = []
    for shard in shards(out):
        with tarfile.open(shard) as file:
            found += file.getmembers()
    return found


def test_webdataset_reads_what_the_run_has(out: Path) -> None:
    """Each sample with its picture, byte for byte, its caption and its facts."""
    import webdataset

    assert len(shards(out)) > 1
    urls = [str(path) for path in shards(out)]
    data = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)
    samples = list(data)
    assert [(sample["txt"].decode(), sample["png"]) for sample in samples] == expected()
    told = [json.loads(sample["json"]) for sample in samples]
    assert [one["id"] for one in told] == [row.id for row in ROWS for _ in row.pictures]
    assert [one["style"] for one in told][:2] == ["", "ink"]
    assert len({tuple(one) for one in told}) == 1
    decoded = next(iter(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("pil")))
    assert decoded["png"].size == (24, 16)
    assert decoded["txt"] == HOSTILE[0]


def test_datasets_reads_the_same(out: Path, tmp_path: Path) -> None:
    """With no word of which files are meant; the folder's name says `test`, and is not asked."""
    found = datasets_from("webdataset", out, tmp_path)
    assert list(found) == ["train"]
    rows = found["train"]
    assert [row["txt"] for row in rows] == [prompt for prompt, _ in expected()]
    with Image.open(io.BytesIO(expected()[3][1])) as image:
        assert (np.asarray(rows[3]["png"]) == np.asarray(image)).all()
    assert {tuple(sorted(row)) for row in rows} == {("__key__", "__url__", "json", "png", "txt")}


def test_a_rating_that_comes_late_is_no_surprise(tmp_path: Path) -> None:
    """`datasets` takes the types of all samples from the first five."""
    run = make(tmp_path / "run", [Made(f"r{n}", (picture(n),)) for n in range(8)])
    (run / "ratings.csv").write_text("id,image,rating\nr7,images/r7.png,4\n")
    export(run, "webdataset", tmp_path / "out")
    rows = datasets_from("webdataset", tmp_path / "out", tmp_path)["train"]
    assert [row["json"]["rating"] for row in rows] == [0] * 7 + [4]


def test_names_have_one_dot_and_nobody_in_them(out: Path) -> None:
    """What follows the first dot is the kind of a file; owners and dates would make other bytes each time."""
    found = members(out)
    assert all(member.name.count(".") == 1 and member.name.isascii() for member in found)
    assert all(len(member.name) <= 100 for member in found)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in found} == {
        (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
    }
    keys = [member.name.partition(".")[0].lower() for member in found]
    assert len(set(keys)) == 11
    assert all(path.stat().st_size % tarfile.RECORDSIZE == 0 for path in shards(out))


def test_a_shard_is_no_larger_than_was_said(out: Path) -> None:
    """But for a sample that alone is larger; the padding at its end does not count."""
    for shard in shards(out):
        with tarfile.open(shard) as file:
            last = file.getmembers()[-1]
            size = last.offset_data + -(-last.size // 512) * 512 + 1024
            count = len(file.getmembers()) // 3
        assert size <= 8000 or count == 1


def test_the_same_run_gives_the_same_bytes(run: Path, out: Path, tmp_path: Path) -> None:
    """Elsewhere, and another day."""
    export(run, "webdataset", tmp_path / "again", images="all", max_size="8KB")
    assert [path.read_bytes() for path in shards(tmp_path / "again")] == [
        path.read_bytes() for path in shards(out)
    ]


def test_one_that_was_broken_off_becomes_the_same(
    run: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the last shard."""
    calls: list[Any] = []

    def dies(picture: Any) -> bytes:
        calls.append(picture)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return read_picture(picture)

    monkeypatch.setattr("nanobanana_batch.exports.webdataset.read_picture", dies)
    again = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        export(run, "webdataset", again, images="all", max_size="8KB")
    assert not again.exists()
    monkeypatch.undo()
    export(run, "webdataset", again, images="all", max_size="8KB")
    names = sorted(path.name for path in again.iterdir() if path.name != "README.md")
    assert names == [".export.json", *(path.name for path in shards(out))]
    assert [path.read_bytes() for path in shards(again)] == [path.read_bytes() for path in shards(out)]


def test_kinds_of_pictures_do_not_mix(tmp_path: Path) -> None:
    """Told before anything is made; converted they do, and a picture behind a rotation is upright."""
    run = make(
        tmp_path / "run",
        [Made("a", (picture(1),)), Made("b", (picture(2, "JPEG"),)), Made("c", (picture(3, "WEBP"),))],
    )
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="jpg and png and webp images"):
        export(run, "webdataset", out)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    export(run, "webdataset", out, convert="jpg", quality=90)
    assert [member.name for member in members(out)] == [
        f"{key}.{ending}" for key in "abc" for ending in ("jpg", "json", "txt")
    ]


def test_a_split_has_its_own_shards(tmp_path: Path) -> None:
    """`datasets` finds both parts by their names."""
    run = make(tmp_path / "run", [Made(f"r{n}", (picture(n),)) for n in range(12)])
    export(run, "webdataset", tmp_path / "out", split="train=0.7,test=0.3", caption="a {id} of {model}")
    found = datasets_from("webdataset", tmp_path / "out", tmp_path)
    ids = {name: {row["json"]["id"] for row in found[name]} for name in ("train", "test")}
    assert ids["train"] | ids["test"] == {f"r{n}" for n in range(12)}
    assert not ids["train"] & ids["test"]
    assert found["train"][0]["txt"].endswith(" of gemini-3.1-flash-image-preview")


def test_a_picture_that_changed_is_left_out_and_the_rest_comes(tmp_path: Path) -> None:
    """Nobody's samples are half there."""
    run = make(tmp_path / "run", [Made("a", (picture(1),)), Made("b", (picture(2),))])
    (run / "images/a.png").write_bytes(picture(9))
    done = export(run, "webdataset", tmp_path / "out")
    assert done.samples == 1
    assert sum(done.left_out.values()) == 1
    assert [member.name for member in members(tmp_path / "out")] == ["b.png", "b.json", "b.txt"]


def test_nothing_to_export_makes_nothing(tmp_path: Path) -> None:
    """No folder, no empty shard."""
    run = make(tmp_path / "run", [Made("failed")])
    with pytest.raises(UsageError, match="nothing to export"):
        export(run, "webdataset", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]

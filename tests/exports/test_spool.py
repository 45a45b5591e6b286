"""What is chosen is kept on disk while an export is made, and comes back as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.collection.entries import Collection, Entry
from nanobanana_batch.collection.judgements import Judgement, Verdict
from nanobanana_batch.exports.options import Link
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.spool import LINES_AT_ONCE, Lines, Spool
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.standing import Stands
from nanobanana_batch.model import LocalImage, Request
from tests.exports.finished import Made, make_folder


def _entries(run: Path, tmp_path: Path) -> list[Entry]:
    """Rows of two folders, and one that has whatever a row can have."""
    other = make_folder(tmp_path / "other", [Made("several", pictures=2), Made("\u6771\u4eac")])
    entries = list(Collection([run, other]).entries())
    several = entries[-2]
    request = Request(
        "m",
        'half a pair \ud800 and "quotes"\n',
        images=("a.png", "https://example.org/b.png"),
        web_search=False,
        image_search=True,
        files=(LocalImage("a.png", "/in/a.png", "aa", 9, "image/png"),),
        extra=(("seed", 1), ("strength", 1.0), ("tiled", True), ("word", "w")),
        priced_by='{"seed": 1}',
    )
    first, second = several.pictures
    pictures = (
        replace(first, judgement=Judgement(5, Verdict.REJECTED, "no"), stands=Stands.CHANGED),
        replace(second, judgement=Judgement(note="so"), measures={"sharpness": "0.5"}, saved_at=1 / 3),
    )
    return [*entries, replace(several, request=request, pictures=pictures, variables={"a": "\r", "b": ""})]


def test_samples_come_back_as_they_were(run: Path, tmp_path: Path) -> None:
    """With each picture and without, as often as they are walked through, all or those of a part."""
    samples = [
        Sample(f"key-{number}", entry, picture, "test" if number % 3 else "train")
        for number, entry in enumerate(_entries(run, tmp_path))
        for picture in (None, *entry.pictures)
    ]
    sides = bytes(sample.split == "test" for sample in samples)
    with closing(Spool(tmp_path)) as spool:
        for sample in samples:
            spool.add(sample)
        assert list(spool.walk(("train", "test"), sides)) == samples
        tested = [sample for sample in samples if sample.split == "test"]
        assert list(spool.walk(("train", "test"), sides, 1)) == tested
        assert [type(value) for _, value in tested[-1].entry.request.extra] == [
            type(value) for _, value in list(spool.walk(("train", "test"), sides))[-1].entry.request.extra
        ]


@pytest.mark.parametrize("count", [0, 1, LINES_AT_ONCE, LINES_AT_ONCE + 1])
def test_lines_come_in_their_order_and_are_counted(run: Path, tmp_path: Path, count: int) -> None:
    """Also the last of them, which are fewer than are made at a time."""
    sample = Sample("key", next(iter(Collection([run]).entries())), None, "train")

    def made(rows: Sequence[Sequence[object]]) -> bytes:
        return b"".join(f"{number},{text}\n".encode() for number, text in rows)

    with closing(Lines(tmp_path, made)) as lines:
        for number in range(count):
            lines.add(sample, (number, "x"))
        walked = list(lines.walk())
    assert b"".join(data for data, _ in walked) == made([(number, "x") for number in range(count)])
    assert sum(pieces for _, pieces in walked) == count


@pytest.mark.parametrize("link", [Link.HARD, Link.SYMLINK])
def test_a_link_takes_the_place_of_what_a_killed_build_has_left(tmp_path: Path, link: Link) -> None:
    """Whatever stands there: it may be another picture by now."""
    run = make_folder(tmp_path / "out", [Made("r")])
    entry = next(iter(Collection([run]).entries()))
    sample = Sample("r", entry, entry.pictures[0], "train")
    left = tmp_path / "build" / "train" / "r.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of before")
    place = Place(tmp_path / "build", "set", Disk())
    place.picture("train/r.png", sample, link)
    assert hashlib.sha256(left.read_bytes()).hexdigest() == sample.picture.sha256
    assert left.samefile(sample.picture.file)
    assert not place.copied_instead

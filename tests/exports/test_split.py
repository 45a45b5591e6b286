"""What belongs together is on one side; the side follows from content and seed alone."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

import nanobanana_batch as nb
from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.exports.options import read_split
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.split import Groups
from tests.exports.finished import Made, make_folder


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Sample]:
    """Prompts of several rows, edits of pictures, a chain, and rows that are alone."""
    rows = [
        Made(f"prompt-{number}-{each}", prompt=f"prompt {number}")
        for number in range(40)
        for each in range(3)
    ]
    rows += [
        Made(
            f"edit-{number}-{each}",
            prompt=f"edit {number} {each}",
            sources=((f"s{number}.png", f"{number:064x}"),),
        )
        for number in range(20)
        for each in range(3)
    ]
    folder = make_folder(tmp_path_factory.mktemp("split") / "out", rows)
    return [Sample(entry.id, entry, entry.pictures[0], "") for entry in Collection([folder]).entries()]


def sides(samples: Sequence[Sample], shares: Sequence[float] = (0.7, 0.3), seed: int = 0) -> dict[str, int]:
    """Of each sample, by its key."""
    groups = Groups()
    for sample in samples:
        groups.add(sample)
    return {sample.key: side for sample, side in zip(samples, groups.sides(shares, seed), strict=True)}


def test_a_prompt_and_a_source_image_are_on_one_side(samples: Sequence[Sample]) -> None:
    """All rows of each, and both sides have some."""
    found = sides(samples)
    by_group: dict[str, set[int]] = {}
    for key, side in found.items():
        by_group.setdefault(key.rpartition("-")[0], set()).add(side)
    assert all(len(each) == 1 for each in by_group.values())
    assert 0.5 < list(found.values()).count(0) / len(found) < 0.9


def test_neither_order_nor_other_rows_change_a_side(samples: Sequence[Sample]) -> None:
    """Rows that come later leave those that were there where they are."""
    found = sides(samples)
    mixed = list(samples)
    random.Random(1).shuffle(mixed)
    assert sides(mixed) == found
    few = sides(mixed[:90])
    assert few == {key: found[key] for key in few}
    assert sides(samples, seed=1) != found


def test_edits_of_a_picture_stay_with_it(tmp_path: Path) -> None:
    """A chain is one group: the picture, what was made from it, and what was made from that."""
    folder = make_folder(tmp_path / "first", [Made(f"a{number}") for number in range(30)])
    parents = {entry.id: entry.pictures[0].sha256 for entry in Collection([folder]).entries()}
    children = [
        Made(f"b{number}", sources=((f"a{number}.png", parents[f"a{number}"]),)) for number in range(30)
    ]
    second = make_folder(tmp_path / "second", children)
    nb.export([folder, second], "imagefolder", tmp_path / "set", split="train=1,test=1")
    for number in range(30):
        names = {path.parent.name for path in (tmp_path / "set").rglob(f"[ab]{number}.png")}
        assert len(names) == 1
    assert len(list((tmp_path / "set" / "test").glob("*.png"))) > 5


def test_a_part_that_was_asked_for_has_something(samples: Sequence[Sample]) -> None:
    """As long as there are groups enough; of one group there is one part."""
    few = [sample for sample in samples if sample.key.endswith("-0")][:4]
    for seed in range(20):
        assert set(sides(few, (0.98, 0.01, 0.01), seed).values()) == {0, 1, 2}
    assert len(set(sides(samples[:3], (0.5, 0.5)).values())) == 1


def test_a_part_without_samples_is_not_written(tmp_path: Path) -> None:
    """A loader takes no empty one."""
    run = make_folder(tmp_path / "out", [Made(f"r{number}", prompt="the same") for number in range(4)])
    done = nb.export(run, "imagefolder", tmp_path / "set", split="train=0.5,test=0.5")
    assert sorted(done.splits.values()) == [4]
    assert len([path for path in (tmp_path / "set").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("text", ["train=0.9,test=0.1", "train=9,test=1", "train=90%, test=10%"])
def test_shares_are_told_as_people_tell_them(text: str) -> None:
    """They come to the whole."""
    assert dict(read_split(text)) == pytest.approx({"train": 0.9, "test": 0.1})


@pytest.mark.parametrize(
    "text", ["train", "train=x", "train=-1", "train=1,train=1", "a b=1", "../x=1", "train=nan", ","]
)
def test_what_is_no_split_is_refused(text: str) -> None:
    """With an example."""
    with pytest.raises(nb.UsageError, match=r"train=0\.9,test=0\.1"):
        read_split(text)


def test_a_sample_takes_a_few_bytes_of_memory(samples: Sequence[Sample]) -> None:
    """By what they hang together is on disk."""
    tracemalloc.start()
    groups, count = Groups(), 30_000
    for number in range(count):
        groups.add(samples[0], f"family {number}")
    assert len(groups.sides((0.7, 0.3), 0)) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * count

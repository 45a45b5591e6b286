"""Pairs for Diffusion-DPO, read by `datasets` and prepared as diffusers' example does it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nanobanana_batch.api.exporting import export
from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.collection.named import Named
from nanobanana_batch.collection.preferences import Better, Choice, save_choices
from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk
from tests.exports.loading import datasets_from
from tests.exports.runs import HOSTILE, Made, make, picture

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
CAT = HOSTILE[0]


def clear(seed: int) -> bytes:
    """A picture with a palette, and something to see through."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(picture(seed))) as image:
        image.quantize(8).save(buffer, "PNG", transparency=0)
    return buffer.getvalue()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four pictures of a cat, two of a dog, one of a bird, and one of another run's."""
    return make(
        tmp_path / "run",
        [
            Made("c1", (picture(1, "JPEG"),), CAT, {"score": "0.5"}),
            Made("d1", (picture(11),), "dog", {"score": "2"}),
            Made("c2", (picture(2),), CAT, {"score": "-1e3"}),
            Made("c3", (clear(3), picture(13)), CAT, {"score": "0.50"}),
            Made("bird", (picture(21),), "bird", {"score": "9"}),
            Made("c4", (picture(4, "WEBP"),), CAT, {"score": "n/a"}),
            Made("d2", (picture(12),), "dog", {"score": "10"}),
        ],
    )


def rate(run: Path, ratings: dict[str, Any]) -> None:
    """Stars, or a verdict."""
    with (run / "ratings.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "image", "rating", "verdict"))
        for id, said in ratings.items():
            stars, verdict = ("", said) if isinstance(said, str) else (said, "")
            path = next(run.glob(f"images/{id}.*"))
            writer.writerow((id, f"images/{path.name}", stars, verdict))


def choose(run: Path, *choices: tuple[str, str, Better]) -> None:
    """As the gallery does."""
    named = {
        f"{entry.id}/{one.number}": Named(entry.id, one.path, entry.row_key, one.sha256)
        for entry in Collection([run]).entries()
        for one in entry.pictures
    }
    save_choices(run, [Choice("", named[a], named[b], better) for a, b, better in choices], Disk())


def pairs_of(run: Path, cache: Path, **how: Any) -> Any:
    """The rows, and what they say: who against whom, and the label."""
    export(run, "preferences", cache / "out", **how)
    rows = datasets_from(str(cache / "out"), None, cache)["train"]
    return rows, [(row["id_0"], row["id_1"], row["label_0"]) for row in rows]


def test_different_ratings_make_pairs(run: Path, tmp_path: Path) -> None:
    """In the order of the manifest; equal ones say nothing, and other prompts are not compared."""
    rate(run, {"c1": 3, "c2": 5, "c3": 3, "bird": 1, "d1": 4})
    rows, said = pairs_of(run, tmp_path)
    assert said == [("c1", "c2", 0.0), ("c2", "c3", 1.0)]
    assert {row["caption"] for row in rows} == {CAT}
    assert rows.column_names[:4] == ["jpg_0", "jpg_1", "label_0", "caption"]
    assert rows[0]["jpg_0"] == picture(1, "JPEG")
    assert "1 pairs of which neither is better are left out" in (tmp_path / "out/README.md").read_text()


def test_ties_come_where_they_are_wanted(run: Path, tmp_path: Path) -> None:
    """diffusers takes any label but 0 for a win of the first, so not unasked."""
    rate(run, {"c1": 3, "c2": 5, "c3": 3})
    _, said = pairs_of(run, tmp_path, ties=True)
    assert said == [("c1", "c2", 0.0), ("c1", "c3", 0.5), ("c2", "c3", 1.0)]


def test_a_verdict_decides_where_stars_do_not(run: Path, tmp_path: Path) -> None:
    """Accepted against rejected."""
    rate(run, {"c1": "rejected", "c2": "accepted", "c3": "accepted"})
    _, said = pairs_of(run, tmp_path)
    assert said == [("c1", "c2", 0.0), ("c1", "c3", 0.0)]


def test_a_choice_counts_before_stars(run: Path, tmp_path: Path) -> None:
    """Whichever was shown first; one that nobody could make takes the pair out."""
    rate(run, {"c1": 1, "c2": 5, "c3": 2})
    choose(
        run,
        ("c2/1", "c1/1", Better.SECOND),
        ("d1/1", "d2/1", Better.SECOND),
        ("c2/1", "c3/1", Better.SKIP),
        ("c3/2", "c1/1", Better.FIRST),
    )
    _, said = pairs_of(run, tmp_path)
    assert said == [("c1", "c2", 1.0), ("c1", "c3", 0.0), ("d1", "d2", 0.0)]
    card = (tmp_path / "out/README.md").read_text()
    assert "1 choices are of a picture that was not chosen for this export" in card


def test_all_images_of_a_row_can_be_compared(run: Path, tmp_path: Path) -> None:
    """Which are of the same prompt, of course."""
    choose(run, ("c3/2", "c3/1", Better.FIRST))
    rows, said = pairs_of(run, tmp_path, images="all")
    assert said == [("c3", "c3-2", 0.0)]
    assert all(Image.open(io.BytesIO(rows[0][name])).format == "JPEG" for name in ("jpg_0", "jpg_1"))


def test_what_is_counted_are_pairs(run: Path, tmp_path: Path) -> None:
    """Before they are written, then, and whenever it is asked again."""
    rate(run, {"c1": 3, "c2": 5, "c3": 3, "bird": 1, "d1": 4})
    told = [export(run, "preferences", tmp_path / "out", dry_run=how) for how in (True, False, False)]
    assert [(one.is_new, one.samples, one.splits) for one in told] == [
        (False, 2, {"train": 2}),
        (True, 2, {"train": 2}),
        (False, 2, {"train": 2}),
    ]


def test_a_column_of_numbers_can_say_it(run: Path, tmp_path: Path) -> None:
    """Higher is better; what is no number says nothing, and people are not asked."""
    rate(run, {"c1": 1, "c2": 5})
    _, said = pairs_of(run, tmp_path, by="score")
    assert said == [("c1", "c2", 1.0), ("d1", "d2", 0.0), ("c2", "c3", 0.0)]


def test_a_new_choice_makes_another_export(run: Path, tmp_path: Path) -> None:
    """Although no row and no picture has changed."""
    choose(run, ("c1/1", "c2/1", Better.FIRST))
    assert export(run, "preferences", tmp_path / "out").samples == 1
    assert not export(run, "preferences", tmp_path / "out").is_new
    choose(run, ("d1/1", "d2/1", Better.FIRST))
    assert export(run, "preferences", tmp_path / "out").samples == 2


def test_a_first_batch_as_the_example_makes_it(run: Path, tmp_path: Path) -> None:
    """Bytes are opened and made RGB; where label_0 is 0 the two change places: the better is first."""
    rate(run, {"c1": 3, "c2": 5, "c3": 1, "d1": 1, "d2": 2})
    export(run, "preferences", tmp_path / "out")
    examples = datasets_from(str(tmp_path / "out"), None, tmp_path, split="train")[:4]
    assert set(examples["label_0"]) == {0.0, 1.0}

    def as_array(data: bytes) -> np.ndarray[Any, Any]:
        image = Image.open(io.BytesIO(data)).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)
        return (np.array(image).transpose(2, 0, 1) / 255 - 0.5) / 0.5

    columns = [[as_array(data) for data in examples[name]] for name in ("jpg_0", "jpg_1")]
    combined = [
        np.concatenate(two[::-1] if label == 0 else two)
        for two, label in zip(zip(*columns, strict=True), examples["label_0"], strict=True)
    ]
    batch = np.stack(combined)
    assert batch.shape == (4, 6, 8, 8)
    better = as_array(next(run.glob("images/c2.png")).read_bytes())
    assert abs(batch[0, :3] - better).mean() < 0.2
    assert list(examples["caption"]) == [CAT, CAT, "dog", CAT]


def test_nothing_that_was_judged_is_told_before_anything_is_made(run: Path, tmp_path: Path) -> None:
    """And a column that there is not."""
    with pytest.raises(UsageError, match="No two of 7 pictures have the same prompt and a judgement"):
        export(run, "preferences", tmp_path / "out")
    with pytest.raises(UsageError, match="Did you mean score"):
        export(run, "preferences", tmp_path / "out", by="scores")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_pairs_stay_together_in_a_split(run: Path, tmp_path: Path) -> None:
    """A prompt is in one part."""
    rate(run, {"c1": 3, "c2": 5, "d1": 1, "d2": 2})
    export(run, "preferences", tmp_path / "out", split="train=0.5,test=0.5")
    found = datasets_from(str(tmp_path / "out"), None, tmp_path)
    prompts = [set(found[name]["caption"]) for name in found]
    assert len(prompts) == 2
    assert not prompts[0] & prompts[1]

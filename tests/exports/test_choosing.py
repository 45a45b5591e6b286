"""Which samples are exported, and that whatever is not is told with its reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

import nanobanana_batch as nb
from nanobanana_batch.collection.entries import Collection
from tests.exports.finished import MODEL, Made, make_folder


def lines(path: Path) -> list[dict[str, object]]:
    """What is told of each sample."""
    found = []
    for metadata in sorted(path.glob("*/metadata.jsonl")):
        found += [json.loads(line) for line in metadata.read_text("utf-8").splitlines()]
    return found


def test_samples_come_in_the_order_of_the_manifest(run: Path, rows: Sequence[Made], tmp_path: Path) -> None:
    """With the first picture of each row that has one."""
    done = nb.export(run, "imagefolder", tmp_path / "set")
    assert [line["id"] for line in lines(tmp_path / "set")] == [row.id for row in rows if row.end == "saved"]
    assert done.left_out == {"further images of the same row (--images first)": 2, "rows without an image": 3}


def test_only_and_where_choose(run: Path, tmp_path: Path) -> None:
    """By whatever is known of a picture; what is wrong in them is told before anything is written."""
    done = nb.export(run, "imagefolder", tmp_path / "set", where=["image_number>1"])
    assert [line["image_number"] for line in lines(tmp_path / "set")] == [2]
    assert done.left_out["not selected by --only and --where"] > 10
    with pytest.raises(nb.UsageError, match="--where 'stile=ink'"):
        nb.export(run, "imagefolder", tmp_path / "other", where="stile=ink")
    with pytest.raises(nb.UsageError, match="nothing to export"):
        nb.export(run, "imagefolder", tmp_path / "other", only="accepted")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_pictures_of_another_size_than_asked_for_may_stay_out(run: Path, tmp_path: Path) -> None:
    """All are here: they are small."""
    with pytest.raises(nb.UsageError, match="of another size or ratio than asked for"):
        nb.export(run, "imagefolder", tmp_path / "set", noted="out")


def test_several_folders_are_one_export(tmp_path: Path) -> None:
    """Ids of both may be the same, or differ in case; the folder tells which is which."""
    first = make_folder(tmp_path / "first", [Made("cat"), Made("dog")])
    second = make_folder(tmp_path / "second", [Made("Cat"), Made("cat-1", variables={"mood": "calm"})])
    nb.export([first, second], "imagefolder", tmp_path / "set")
    found = lines(tmp_path / "set")
    assert [(line["folder"], line["id"], line["mood"]) for line in found] == [
        ("first", "cat", ""),
        ("first", "dog", ""),
        ("second", "Cat", ""),
        ("second", "cat-1", "calm"),
    ]
    assert len({str(line["file_name"]).lower() for line in found}) == 4


def test_placeholders_are_refused_and_else_marked(tmp_path: Path) -> None:
    """In the card, and each sample."""
    run = make_folder(tmp_path / "out", [Made("r")], provider="local")
    with pytest.raises(nb.UsageError, match=r"placeholders.*--practice"):
        nb.export(run, "imagefolder", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    nb.export(run, "imagefolder", tmp_path / "set", practice=True)
    assert [line["placeholder"] for line in lines(tmp_path / "set")] == [True]
    text = (tmp_path / "set/README.md").read_text("utf-8")
    assert "placeholders, drawn by a service" in text
    assert "placeholders" in yaml.safe_load(text.split("---\n")[1])["tags"]


@pytest.mark.parametrize("format", ["parquet", "jsonl"])
def test_variables_may_be_called_as_what_only_exports_have(tmp_path: Path, format: str) -> None:
    """Neither takes the other's place, nor its type."""
    told = {"placeholder": "a {name}", "other_images": "none", "var_other_images": "nor here"}
    run = make_folder(tmp_path / "out", [Made("a", variables=told, pictures=2)])
    nb.export(run, format, tmp_path / "set", practice=True)
    if format == "jsonl":
        row = json.loads((tmp_path / "set").read_text("utf-8"))
        assert row["other_images"] == "images/a~2.png"
        assert row["var_other_images_"] == "none"
        assert row["var_other_images"] == "nor here"
    else:
        from pyarrow.parquet import read_table

        row = read_table(next((tmp_path / "set/data").iterdir())).to_pylist()[0]
        assert {name: row[name] for name in told} == told
    assert row["placeholder"] == "a {name}"
    assert row["placeholder_"] is False


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"link": "hrad"}, "link: 'hrad'"),
        ({"images": "every"}, "images: 'every'"),
        ({"noted": "yes"}, "noted: 'yes'"),
        ({"split": "train=1e308,test=1e308"}, "--split"),
        ({"out": ""}, "--out has to be a path"),
        ({"out": "a\0b"}, "--out has to be a path"),
    ],
)
def test_what_a_program_says_is_looked_at(
    run: Path, tmp_path: Path, how: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the command line does by itself: a word that is none means nothing else by chance."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(nb.UsageError, match=told):
        nb.export(run, **{"format": "imagefolder", "out": "set", **how})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_an_export_of_nothing_is_refused(tmp_path: Path) -> None:
    """With the reason; nothing is written."""
    run = make_folder(tmp_path / "out", [Made("r", end="failed")])
    with pytest.raises(nb.UsageError, match=r"nothing to export \(1 rows without an image\)"):
        nb.export(run, "imagefolder", tmp_path / "set")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("format", "option"),
    [("imagefolder", {"max_size": "1MB"}), ("csv", {"link": "hard"}), ("parquet", {"bom": True})],
)
def test_options_that_do_nothing_are_refused(
    run: Path, tmp_path: Path, format: str, option: dict[str, object]
) -> None:
    """They were meant for something."""
    with pytest.raises(nb.UsageError, match="has no use for"):
        nb.export(run, format, tmp_path / "set", **option)  # type: ignore[arg-type]


def test_a_dry_run_writes_nothing(run: Path, rows: Sequence[Made], tmp_path: Path) -> None:
    """And says what would be written."""
    done = nb.export(run, "imagefolder", tmp_path / "set", dry_run=True)
    assert done.samples == sum(row.end == "saved" for row in rows)
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_what_is_in_the_export_and_what_is_not(run: Path, tmp_path: Path) -> None:
    """Texts of strangers are words in it."""
    nb.export(run, "imagefolder", tmp_path / "set", split="train=0.6,test=0.4", where="style!=only this one")
    text = (tmp_path / "set/README.md").read_text("utf-8")
    told = yaml.safe_load(text.split("---\n")[1])
    assert told["pretty_name"] == "every_thing <b>"
    assert "# every\\_thing &lt;b&gt;" in text
    for each in (
        f"| {MODEL} | evolink&#64;api.evolink.ai | 17 |",
        "Of 21 rows: completed (18), ",
        "| refused | content\\_policy\\_violation | 1 |",
        "| failed | service\\_error | 1 |",
        "made from 2026-09-21 14:13 to 2026-09-21 14:13 (UTC)",
        "left out: 1 not selected by --only and --where",
        "chosen where `style!=only this one`",
        "have the same bytes as another one",
        "have another size or ratio than asked for",
        "of a row with several images the first",
        "(seed 0): no prompt, no source image and no image is in two parts",
        "`aspect_ratio`: 1:1 (17)",
    ):
        assert each in text, each


def test_the_twin_of_a_picture_is_on_its_side(run: Path, tmp_path: Path) -> None:
    """The same bytes in two parts would be a test that was trained for."""
    for seed in range(8):
        nb.export(run, "imagefolder", tmp_path / f"{seed}", split="train=1,test=1", seed=seed)
        both = {
            path.parent.name
            for path in (tmp_path / f"{seed}").rglob("*.png")
            if path.stem in ("row-0", "twin")
        }
        assert len(both) == 1


def test_rows_by_the_ten_thousand_stay_on_disk(tmp_path: Path) -> None:
    """What is chosen is not held; only a few bytes of each."""
    import tracemalloc

    from nanobanana_batch.exports.sample import Sample
    from nanobanana_batch.exports.spool import Spool

    run = make_folder(tmp_path / "out", [Made("r", prompt="p" * 8000)])
    entry = next(iter(Collection([run]).entries()))
    tracemalloc.start()
    spool = Spool(tmp_path)
    for number in range(2000):
        spool.add(Sample(f"r{number}", entry, entry.pictures[0], "train"))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sum(1 for _ in spool.walk(["train"], bytes(2000))) == 2000
    spool.close()
    assert held < 1_000_000

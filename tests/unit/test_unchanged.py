"""What a manifest's rows are made from is known wholly, or nothing is said of it."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nanobanana_batch.files import contents, program
from nanobanana_batch.jobs import unchanged
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.order import Order, open_ordered
from nanobanana_batch.jobs.unchanged import Making, warnings_if_same
from nanobanana_batch.state.shards import Shard
from tests.saved_run import Made, saved_run


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


PNG = png("red")
MODEL = "gemini-3.1-flash-image-preview"
YAML = f"""
name: m
defaults: {{model: {MODEL}, images: ref.png}}
blocks:
- table: rows.csv
- prompt: "{{thing}}, {{style}}"
  matrix:
    thing: {{file: things.txt}}
    style: [ink]
"""
PROFILE = "extends: parent.yaml\n"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest that draws in files of all kinds, one folder below the working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    folder.joinpath("m.yaml").write_text(YAML)
    folder.joinpath("rows.csv").write_text("id,prompt\na,a cat\nb,a __dog__\n")
    folder.joinpath("things.txt").write_text("tree\nlake\n")
    folder.joinpath("ref.png").write_bytes(PNG)
    folder.joinpath("profile.yaml").write_text(PROFILE)
    folder.joinpath("parent.yaml").write_text("extends: evolink\n")
    return folder


def order_of(folder: Path, name: str = "m.yaml", **said: Any) -> Order:
    return Order(folder / name, connection=Connection(str(folder / "profile.yaml")), **said)


def made_from(order: Order) -> str:
    """What is noted while all rows of an order are read."""
    making = Making(order)
    with making.noted():
        manifest = open_ordered(order)
        problems = manifest.problem_log()
        assert list(manifest.light_drafts(problems))
        problems.raise_if_any()
    return making.text(manifest.warnings)


def test_the_same_order_over_the_same_files_is_known_with_its_warnings(world: Path) -> None:
    """A run that does not read the rows tells what there is to say of them all the same."""
    said = made_from(order_of(world))
    warnings = warnings_if_same(order_of(world), said)
    assert warnings is not None
    assert any("sent as they stand" in warning for warning in warnings)


@pytest.mark.parametrize("name", ["m.yaml", "rows.csv", "things.txt", "profile.yaml", "parent.yaml"])
def test_a_file_that_was_edited_is_another_one_though_size_and_time_are_the_same(
    world: Path, name: str
) -> None:
    """One letter has another case."""
    said, path = made_from(order_of(world)), world / name
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content.swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert warnings_if_same(order_of(world), said) is None
    path.write_bytes(content)
    assert warnings_if_same(order_of(world), said) is not None


def test_a_reference_image_counts_by_its_content(world: Path) -> None:
    """It is what a row asks for."""
    said = made_from(order_of(world))
    (world / "ref.png").write_bytes(png("blue"))
    assert warnings_if_same(order_of(world), said) is None


def test_a_file_that_is_gone_or_is_a_folder_is_not_the_same(world: Path) -> None:
    """Nor one that is a pipe, which would hold up whoever reads it."""
    said, path = made_from(order_of(world)), world / "rows.csv"
    path.unlink()
    assert warnings_if_same(order_of(world), said) is None
    path.mkdir()
    assert warnings_if_same(order_of(world), said) is None
    path.rmdir()
    os.mkfifo(path)
    assert warnings_if_same(order_of(world), said) is None


def test_a_link_that_leads_elsewhere_is_not_the_same(world: Path, tmp_path: Path) -> None:
    """What it leads to now may be out of reach."""
    said = made_from(order_of(world))
    shutil.move(world / "rows.csv", tmp_path / "rows.csv")
    (world / "rows.csv").symlink_to(tmp_path / "rows.csv")
    assert warnings_if_same(order_of(world), said) is None


@pytest.mark.parametrize(
    "said",
    [
        {"defaults": {"resolution": "2K"}},
        {"skip": ("empty-prompts",)},
        {"variables": ("mood",)},
        {"allow_unknown_model": True},
        {"format": "yaml"},
        {"called": "other"},
        {"allow_outside": (Path("/"),)},
        {"connection": Connection("local")},
        {"columns": {"prompt": "text"}},
        {"id": "{city}"},
        {"shard": Shard(1, 2)},
    ],
    ids=lambda said: next(iter(said)),
)
def test_an_order_that_says_something_else_is_another_one(world: Path, said: dict[str, Any]) -> None:
    """Each of these decides which rows there are, or what is wrong with them."""
    before = made_from(order_of(world))
    assert warnings_if_same(replace(order_of(world), **said), before) is None


def test_each_part_of_an_order_decides_rows_or_is_known_not_to() -> None:
    """A part that is new has to say which."""
    no_matter = {"out", "state_dir", "risk_network_filesystem", "callback_route", "as_copy"}
    no_matter |= {"journal"}  # with one, the rows are always read
    decides = {"manifest", "connection", "defaults", "columns", "id", "skip", "variables", "spool", "called"}
    decides |= {"allow_unknown_model", "format", "allow_outside", "shard"}
    assert set(Order.__dataclass_fields__) == no_matter | decides


def test_another_working_directory_is_another_reach(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files below it may be drawn in."""
    said = made_from(order_of(world))
    monkeypatch.chdir(world)
    assert warnings_if_same(order_of(world), said) is None


def test_another_program_may_make_other_rows(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it calls itself by the same version."""
    said = made_from(order_of(world))
    monkeypatch.setattr(unchanged, "program", lambda: "another")
    assert warnings_if_same(order_of(world), said) is None


def test_a_program_is_known_by_each_of_its_files(tmp_path: Path) -> None:
    """One that is changed, moved or new makes another one."""
    (tmp_path / "a.py").write_text("1")
    known = {program.program(tmp_path)}
    for name, text in (("a.py", "2"), ("b.yaml", ""), ("b.json", "3")):
        (tmp_path / name).write_text(text)
        program.program.cache_clear()
        known.add(program.program(tmp_path))
    assert len(known) == 4
    program.program.cache_clear()


def run_beside(world: Path) -> None:
    saved_run(world / "other", [Made("a", PNG)])


@pytest.mark.parametrize(
    ("name", "text", "prepare"),
    [
        ("texts", None, lambda w: (w.joinpath("texts").mkdir(), (w / "texts/a.txt").write_text("a cat"))),
        ("p.yaml", f"defaults: {{model: {MODEL}}}\nprompt: a cat\nimages_from: ref.png\n", lambda w: None),
        (
            "p.yaml",
            f"from: other\ndefaults: {{model: {MODEL}}}\nprompt: ink\nimages: '{{image}}'\n",
            run_beside,
        ),
    ],
    ids=["folder of prompts", "pictures", "another run"],
)
def test_what_is_no_content_of_a_file_is_not_known(
    world: Path, name: str, text: str | None, prepare: Callable[[Path], object]
) -> None:
    """The names in a folder and the state of another run may be others the next time."""
    prepare(world)
    if text is not None:
        (world / name).write_text(f"name: p\n{text}")
    order = Order(world / name, defaults={} if text else {"model": MODEL})
    assert made_from(order) == ""


def test_a_table_that_is_not_read_through_is_not_known(world: Path) -> None:
    """Parquet is read by a library of its own, in pieces."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pandas.DataFrame({"prompt": ["a cat"], "model": [MODEL]}).to_parquet(world / "t.parquet")
    assert made_from(Order(world / "t.parquet")) == ""


def test_a_file_that_changes_between_two_readings_is_not_known(world: Path) -> None:
    """Nobody knows which of both has given the rows."""
    noted = contents.Contents()
    noted.take(str(world / "rows.csv"), "1")
    assert noted.known() is not None
    noted.take(str(world / "rows.csv"), "2")
    assert noted.known() is None


def test_a_file_that_was_only_begun_is_not_known(world: Path) -> None:
    """Its end may decide something, and was not hashed."""
    from nanobanana_batch.files.plain import reading

    noted = contents.Contents()
    (world / "long.txt").write_bytes(b"x" * (1 << 20))
    with noted.noted(), reading(world / "long.txt") as stream:
        stream.read(10)
        assert noted.known() is None
        stream.seek(0)
        stream.read()
        assert noted.known() is not None


def test_bytes_that_were_read_out_of_order_are_not_known(world: Path) -> None:
    """As a library reads a ZIP file, from its end."""
    from nanobanana_batch.files.plain import reading

    noted = contents.Contents()
    (world / "long.txt").write_bytes(bytes(range(256)) * 8192)
    with noted.noted(), reading(world / "long.txt") as stream:
        stream.seek(1 << 20)
        stream.read()
    assert noted.known() is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "nonsense", '{"files": 1}', "[" * 9999, '{"files": {"a": 1}}']
)
def test_what_somebody_else_has_left_in_a_state_is_not_believed(world: Path, text: str) -> None:
    """The rows are read then."""
    assert warnings_if_same(order_of(world), text) is None


def test_a_state_that_names_no_manifest_among_its_files_is_not_believed(world: Path) -> None:
    """It would be the same whatever stands there."""
    said = json.loads(made_from(order_of(world)))
    del said["files"][str(world / "m.yaml")]
    assert warnings_if_same(order_of(world), json.dumps(said)) is None


_HEARD: list[list[str]] = []


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _HEARD and isinstance(args[0], str | bytes | os.PathLike):
        _HEARD[-1].append(os.path.abspath(os.fsdecode(args[0])))


@contextmanager
def heard_opening() -> Iterator[list[str]]:
    """Every file that Python opens."""
    if not getattr(sys, "_hears_opening", False):
        sys.addaudithook(_hear)
        sys._hears_opening = True  # type: ignore[attr-defined]
    _HEARD.append([])
    try:
        yield _HEARD[-1]
    finally:
        _HEARD.pop()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.yaml", YAML),
        ("t.csv", "prompt,images\na cat,ref.png\n"),
        ("t.tsv", "prompt\timages\na cat\tref.png\n"),
        ("t.jsonl", '{"prompt": "a cat", "images": "ref.png"}\n'),
        ("t.json", '[{"prompt": "a cat", "images": "ref.png"}]'),
        ("t.txt", "a cat\n"),
    ],
)
def test_whatever_is_opened_while_rows_are_read_is_noted(world: Path, name: str, text: str) -> None:
    """Python itself is asked what was opened: a reader that is new and is not noted fails here."""
    (world / name).write_text(text)
    order = order_of(world, name, defaults={} if name == "m.yaml" else {"model": MODEL})
    with heard_opening() as opened:
        said = made_from(order)
    theirs = {path for path in opened if path.startswith(str(world))}
    assert str(world / name) in theirs
    assert theirs == set(json.loads(said)["files"])


def test_of_very_many_files_nothing_is_remembered(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at each again is what reading them is; and no more is looked up for them."""
    monkeypatch.setattr(contents, "_MOST_FILES", 2)
    noted = contents.Contents()
    for n in range(3):
        noted.take(str(world / f"{n}.png"), "1")
    assert noted.known() is None


def test_a_program_that_cannot_be_read_is_like_no_other(tmp_path: Path) -> None:
    """Else one out of an archive would take what an older one has worked out for its own."""
    (gone := tmp_path / "gone").mkdir()
    (gone / "a.py").symlink_to("nothing")
    for package in (tmp_path / "empty", gone):
        assert program.program.__wrapped__(package) != program.program.__wrapped__(package)

"""What an export says of its files, and which are there: as JSON of one piece, sorted, and streamed."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest

from nanobanana_batch.exports.record import MADE_BY, RECORD, Record, held_against, listing, read_record

NAMES = [f"train/{number:05}\udce4.png" for number in range(2_503)]


def record(files: dict[str, int]) -> Record:
    """Of these files."""
    return Record(MADE_BY, {"format": "x"}, "plan", sorted(files.items()), {"train": 3}, {"no image": 1})


@pytest.mark.parametrize("count", [0, 1, 1_000, 2_503])
def test_a_record_is_written_as_json_in_one_piece_would_be_and_is_read_back(
    tmp_path: Path, count: int
) -> None:
    """To the letter; what is cut off is none, and JSON of somebody else's layout is one, too."""
    files = {name: number for number, name in enumerate(NAMES[:count])}
    told = {"made_by": MADE_BY, "options": {"format": "x"}, "plan": "plan", "files": files}
    told |= {"splits": {"train": 3}, "left_out": {"no image": 1}}
    whole = b"".join(record(files).as_pieces())
    assert whole == (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    for text in (whole, json.dumps(told).encode()):
        (tmp_path / RECORD).write_bytes(text)
        found = read_record(tmp_path / RECORD)
        assert found is not None
        assert list(found.files) == list(found.files) == list(files.items())
        assert (found.plan, found.splits) == ("plan", {"train": 3})
    for end in (len(whole) // 3, len(whole) // 2, len(whole) - 3):
        (tmp_path / RECORD).write_bytes(whole[:end])
        assert read_record(tmp_path / RECORD) is None


def test_a_folder_is_listed_in_the_order_of_whole_names(tmp_path: Path) -> None:
    """`a-b` before what is in `a`; no links to folders, nothing of desktops, and no record half written."""
    for name in ("a/z", "a/b/c", "a-b", "a0", "a.b/x", "ä", f".{RECORD}.7.part", "Thumbs.db", RECORD):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "dangling").symlink_to("nowhere")
    found = [name for name, _ in listing(tmp_path)]
    assert found == sorted(["a/z", "a/b/c", "a-b", "a0", "a.b/x", "ä", "dangling"])
    assert dict(listing(tmp_path))["a.b/x"] == 5


def test_what_is_held_against_each_other_need_not_have_the_same_names() -> None:
    """None for what is on one side only, at the beginning, in the middle, and at the end."""
    these, those = [("a", 1), ("c", 2), ("d", 3)], [("b", 9), ("c", 8)]
    assert list(held_against(these, those)) == [("a", 1, None), ("c", 2, 8), ("d", 3, None)]
    assert list(held_against(those, these)) == [("b", 9, None), ("c", 8, 2)]
    assert list(held_against(these, [])) == [("a", 1, None), ("c", 2, None), ("d", 3, None)]


def test_memory_does_not_grow_with_the_names(tmp_path: Path) -> None:
    """Of 80,000 names more, none is held: each would take more than 50 bytes."""
    peaks = []
    for count in (20_000, 100_000):
        tracemalloc.start()
        files = ((f"train/{number:07}.png", number) for number in range(count))
        with (tmp_path / RECORD).open("wb") as file:
            file.writelines(Record(MADE_BY, {"a": "b"}, "plan", files).as_pieces())
        os.chmod(tmp_path / RECORD, 0o600)
        found = read_record(tmp_path / RECORD)
        assert found is not None
        assert sum(1 for _ in found.files) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2_000_000

"""results.csv says what the state knows, in a form that every reader gets back unchanged."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pandas
import pytest

from nanobanana_batch.errors import DiskFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import find
from nanobanana_batch.files.standing import Look
from nanobanana_batch.model import Draft, Image, Request
from nanobanana_batch.results import column_names, csv_pieces, read_results, standing, write_results
from nanobanana_batch.state import facts
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.store import Store
from tests.unit.test_files_images import WatchedDisk
from tests.unit.test_state_store import FACTS, IMAGE, intent, take

COLUMNS = [
    "id",
    "status",
    "image",
    "prompt",
    "model",
    "aspect_ratio",
    "resolution",
    "images",
    "output_format",
    "web_search",
    "image_search",
    "thinking_level",
    "variant",
    "width",
    "height",
    "size_bytes",
    "sha256",
    "duplicate_of",
    "note",
    "credits",
    "task_id",
    "error_code",
    "error_message",
    "row_key",
    "other_images",
]
"""People's programs depend on these; a new one may be added, none may go or change its name."""

ODD = [
    'she said "no", twice',
    "first\nsecond\n\nlast\n",
    "windows\r\nline",
    "a lone\rreturn",
    "  leading and trailing  ",
    "\ttab",
    "null",
    "NA",
    "nan",
    "None",
    "True",
    "007",
    "1e5",
    "=SUM(A1)",
    "''",
    '"',
    '""',
    ",",
    ";",
    "#comment",
    "東京の夜 \U0001f3ef é",
    "\ufeffwith a mark",
    "back\\slash",
    "line\u2028separator",
    "x" * 2000,
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The state of an output folder."""
    store = Store(tmp_path / "state.sqlite3")
    yield store
    store.close()


def draft(prompt: str, number: int = 0, **variables: str) -> Draft:
    """One row."""
    return Draft("m:1", Request("model-a", prompt), f"r{number}", variables=tuple(variables.items()))


def image_file(folder: Path, path: str, width: int = 9, height: int = 5) -> Image:
    """An image in a folder, as it is saved."""
    file, content = folder / path, b"cat!"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    digest, time = hashlib.sha256(content).hexdigest(), file.stat().st_mtime
    return Image(path, "image/png", width, height, len(content), digest, time)


def written(folder: Path) -> Path:
    """results.csv of a folder."""
    return write_results(find(folder), Disk())


def test_the_columns_are_these(store: Store, tmp_path: Path) -> None:
    """With the manifest's own variables in front of what became of a row."""
    take(store, [draft("a", mood="dark", light="low")], ("mood", "light"))
    header = written(tmp_path).read_text(encoding="utf-8").partition("\n")[0].split(",")
    at = header.index("width")
    assert header[:at] == [*COLUMNS[: COLUMNS.index("width")], "mood", "light"]
    assert header[at:] == COLUMNS[COLUMNS.index("width") :]
    assert column_names([]) == COLUMNS


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        (["status"], ["var_status"]),
        (["var_status"], ["var_status"]),
        (["status", "var_status"], ["var_var_status", "var_status"]),
        (["var_status", "status"], ["var_status", "var_var_status"]),
        (["row_key", "Status"], ["var_row_key", "Status"]),
    ],
)
def test_a_variable_never_shares_a_column(variables: list[str], shown: list[str]) -> None:
    """Neither with a fixed one nor with another variable."""
    names = column_names(variables)
    assert names[13:-12] == shown
    assert len(set(names)) == len(names)


def test_a_variable_named_like_a_column_keeps_its_value(store: Store, tmp_path: Path) -> None:
    """And the column keeps its own."""
    take(store, [draft("a", status="mine", var_status="also mine")], ("status", "var_status"))
    written(tmp_path)
    (row,) = read_results(tmp_path).to_dict("records")
    assert (row["status"], row["var_var_status"], row["var_status"]) == ("pending", "mine", "also mine")


def test_every_text_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    """Prompts and variables, by our reader, by plain pandas and by the csv module."""
    take(store, [draft(text, n, remark=text) for n, text in enumerate(ODD)], ("remark",))
    path = written(tmp_path)
    ours = read_results(tmp_path)
    plain = pandas.read_csv(path, dtype=str, keep_default_na=False)
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    for name in ("prompt", "remark"):
        assert ours[name].tolist() == ODD
        assert plain[name].tolist() == ODD
        assert [row[name] for row in table] == ODD


def test_rows_stand_in_manifest_order_with_what_became_of_them(store: Store, tmp_path: Path) -> None:
    """Whatever the order in which tasks ended; all fields as text that needs no explanation."""
    request = Request(
        "m", "p", "1:1", "2K", ("https://x/a.png", "https://x/b.png"), "png", True, False, "high"
    )
    take(store, [Draft("m:1", request, "z", variant=2), draft("b", 1), draft("c", 2), draft("d", 3)], ())
    store.apply([intent(3, attempt=1, stem="c"), FACTS["Rejected"](1)])
    store.apply([intent(1, attempt=2, stem="z"), FACTS["Accepted"](2), FACTS["Ready"](2)])
    store.apply([facts.Saved(2, image_file(tmp_path, "images/z.png", 640, 480), 1.0)])
    store.apply([intent(2, attempt=3, stem="b"), FACTS["Unanswered"](3)])
    written(tmp_path)
    done, unknown, failed, pending = read_results(tmp_path).to_dict("records")
    key = done.pop("row_key")
    assert str(key).startswith("r1-")
    assert done == {
        "id": "z",
        "status": "completed",
        "image": "images/z.png",
        "prompt": "p",
        "model": "m",
        "aspect_ratio": "1:1",
        "resolution": "2K",
        "images": "https://x/a.png|https://x/b.png",
        "output_format": "png",
        "web_search": "true",
        "image_search": "false",
        "thinking_level": "high",
        "variant": 2,
        "width": 640,
        "height": 480,
        "size_bytes": 4,
        "sha256": hashlib.sha256(b"cat!").hexdigest(),
        "duplicate_of": "",
        "note": "640x480 for 2K 1:1",
        "credits": 3.0,
        "task_id": "task-2",
        "error_code": "",
        "error_message": "",
        "other_images": "",
    }
    assert (unknown["id"], unknown["status"], unknown["error_message"]) == ("r1", "unknown", "cut")
    assert (failed["id"], failed["status"], failed["error_code"]) == ("r2", "failed", "invalid_request")
    assert (pending["id"], pending["status"], pending["task_id"]) == ("r3", "pending", "")
    assert pandas.isna(pending["width"])
    assert pandas.isna(pending["credits"])


def test_a_lost_file_is_not_shown_as_an_image(store: Store, tmp_path: Path) -> None:
    """Only what is completed has a path."""
    take(store, [draft("a")])
    image = image_file(tmp_path, IMAGE.path)
    store.apply([intent(1), FACTS["Accepted"](1), FACTS["Ready"](1), facts.Saved(1, image, 1.0)])
    written(tmp_path)
    assert read_results(tmp_path)["image"].tolist() == [IMAGE.path]
    store.apply([facts.Lost(1)])
    written(tmp_path)
    assert read_results(tmp_path)["image"].tolist() == [""]


@pytest.mark.parametrize(
    ("credits", "text"), [(4.0, "4"), (0.1 + 0.2, "0.3"), (2.5, "2.5"), (1e6, "1000000")]
)
def test_credits_are_written_short(store: Store, tmp_path: Path, credits: float, text: str) -> None:
    """4, not 4.0, and no rounding noise."""
    take(store, [draft("a")])
    store.apply([intent(1), FACTS["Accepted"](1), facts.Ready(1, ("https://x",), 9.0, credits, 1.0)])
    frame = pandas.read_csv(written(tmp_path), dtype=str)
    assert frame["credits"].tolist() == [text]


def test_an_unchanged_file_keeps_its_time_stamp(store: Store, tmp_path: Path) -> None:
    """Make sees news only where there is some."""
    take(store, [draft("a")])
    path = written(tmp_path)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert written(tmp_path).stat().st_mtime == 1_000_000_000
    store.apply([intent(1)])
    assert written(tmp_path).stat().st_mtime != 1_000_000_000


def test_a_full_disk_leaves_the_old_results(store: Store, tmp_path: Path) -> None:
    """A half-written table would be read as fewer rows."""
    take(store, [draft("a")])
    before = written(tmp_path).read_bytes()
    store.apply([intent(1)])
    with pytest.raises(DiskFailed):
        write_results(find(tmp_path), WatchedDisk("write", 28))
    assert (tmp_path / "results.csv").read_bytes() == before
    assert not list(tmp_path.glob(".*part"))


def test_a_large_table_comes_in_pieces(store: Store, tmp_path: Path) -> None:
    """Memory does not grow with the manifest; the pieces are the file."""
    take(store, [draft(f"prompt {n}", n) for n in range(2500)])
    with open_reader(tmp_path / "state.sqlite3") as reader:
        pieces = list(csv_pieces(reader, Look(tmp_path)))
    assert len(pieces) == 3
    assert b"".join(pieces) == written(tmp_path).read_bytes()
    assert read_results(tmp_path)["id"].tolist() == [f"r{n}" for n in range(2500)]


def test_standing_counts_rows_and_credits(store: Store, tmp_path: Path) -> None:
    """Rows that left the manifest stand apart."""
    take(store, [draft("a"), draft("b", 1)])
    store.apply([intent(1), FACTS["Accepted"](1), intent(2, attempt=2), FACTS["Rejected"](2)])
    take(store, [draft("a"), draft("c", 2)])
    found = standing(find(tmp_path))
    assert (found.manifest, found.rows, found.credits_reserved, found.credits_used) == ("test", 2, 4.0, 0.0)
    assert {name: count for name, count in found.counts.items() if count} == {"running": 1, "pending": 1}
    assert found.left_manifest == {"failed": 1}


def test_results_that_are_not_there_are_told(store: Store, tmp_path: Path) -> None:
    """No folder, a folder of something else, and a run that has not ended yet."""
    with pytest.raises(UsageError, match=r"There is no folder .*nowhere"):
        read_results(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"empty has no results\.csv: no run was made"):
        read_results(str(tmp_path / "empty"))
    take(store, [draft("a")])
    with pytest.raises(UsageError, match="it is written when a run ends"):
        read_results(tmp_path)


def test_a_folder_without_state_has_no_results(tmp_path: Path) -> None:
    """And gets none by asking."""
    with pytest.raises(UsageError):
        written(tmp_path)
    assert list(tmp_path.iterdir()) == []


def saved_row(store: Store, folder: Path) -> Path:
    """A folder with one completed row, and its image."""
    take(store, [draft("a")])
    image = image_file(folder, IMAGE.path)
    store.apply([intent(1), FACTS["Accepted"](1), FACTS["Ready"](1), facts.Saved(1, image, 1.0)])
    return folder / image.path


def test_a_row_whose_image_is_gone_is_not_called_completed(store: Store, tmp_path: Path) -> None:
    """It is what the next run makes of it, in the table as in `status`."""
    saved_row(store, tmp_path).unlink()
    written(tmp_path)
    (row,) = read_results(tmp_path).to_dict("records")
    assert (row["status"], row["image"], row["sha256"] != "") == ("running", "", True)
    assert row["note"].startswith("the file is gone: the next run fetches it again")
    found = standing(find(tmp_path))
    assert {name: count for name, count in found.counts.items() if count} == {"running": 1}
    assert (found.files.missing, found.files.first) == (1, {"missing": IMAGE.path})


def test_a_changed_image_stays_completed_and_is_told(store: Store, tmp_path: Path) -> None:
    """With what was saved: a hash that the file does not have is explained beside it."""
    saved_row(store, tmp_path).write_bytes(b"optimised")
    written(tmp_path)
    (row,) = read_results(tmp_path).to_dict("records")
    assert (row["status"], row["image"], row["size_bytes"]) == ("completed", IMAGE.path, 4)
    assert (
        row["note"] == "the file was changed: width, height, size_bytes and sha256 are of the image as saved"
    )
    found = standing(find(tmp_path))
    assert (found.counts["completed"], found.files.changed, found.files.missing) == (1, 1, 0)


def test_a_change_of_the_same_size_and_time_is_found_by_verify(store: Store, tmp_path: Path) -> None:
    """In the table and in `status`."""
    image = saved_row(store, tmp_path)
    before = image.stat()
    image.write_bytes(b"dog!")
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert standing(find(tmp_path)).files.changed == 0
    assert standing(find(tmp_path), verify=True).files.changed == 1
    write_results(find(tmp_path), Disk(), Look(tmp_path, verify=True))
    assert "was changed" in read_results(tmp_path)["note"][0]


def test_a_folder_in_the_place_of_the_results_is_told(store: Store, tmp_path: Path) -> None:
    """And left alone."""
    take(store, [draft("a")])
    (tmp_path / "results.csv").mkdir()
    with pytest.raises(UsageError, match="where the results belong"):
        written(tmp_path)

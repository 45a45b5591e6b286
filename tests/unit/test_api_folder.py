"""An output folder from Python: rows with their images, a table, and how it stands."""

from __future__ import annotations

import io
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.Image
import pytest

import nanobanana_batch as nb
from nanobanana_batch.cli.text import as_json
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import find
from nanobanana_batch.model import Draft, Image, Request, RowStatus
from nanobanana_batch.results import read_results, write_results
from nanobanana_batch.state import facts
from nanobanana_batch.state.store import Store
from tests.unit.earlier_run import Earlier, finish, make_run
from tests.unit.test_state_store import FACTS, intent, take

ROWS = [
    Earlier("a", {"style": "ink"}),
    Earlier("b", {"style": "null"}, "failed"),
    Earlier("c", {"style": "007"}, "pending"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three rows: one made, one failed, one that was never sent."""
    make_run(tmp_path / "out", ROWS)
    return tmp_path / "out"


def test_rows_come_in_the_order_of_the_manifest_with_what_came_of_them(folder: Path) -> None:
    """Paths are those of files; what is not known is None."""
    with nb.open_run(folder) as run:
        a, b, c = run.rows()
        assert [row.id for row in run] == ["a", "b", "c"]
    assert len(run) == 3
    assert (a.status, b.status, c.status) == (RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.PENDING)
    assert (a.request.prompt, a.variables) == (ROWS[0].prompt, {"style": "ink"})
    assert (a.image, b.image, c.image) == (folder / "images" / "a.png", None, None)
    assert a.image is not None
    assert a.image.is_file()
    assert (a.error_code, c.error_code) == (None, None)
    assert b.error_code
    assert (c.credits, c.task_id, c.width) == (None, None, None)


def test_what_went_wrong_before_is_no_error_of_a_row_that_is_made(folder: Path) -> None:
    """An image that was given up, and whose file is back."""
    store = Store(folder / "state.sqlite3")
    store.apply([facts.Lost(1, 1), facts.GivenUp(1, 9.0)])
    assert nb.open_run(folder).row("a").error_code == "given_up"
    store.apply([facts.Found(1, 1)])
    store.close()
    row = nb.open_run(folder).row("a")
    assert (row.status, row.error_code, row.error_message) == (RowStatus.COMPLETED, None, None)


def test_one_row_is_had_by_its_id(folder: Path) -> None:
    """The same as in the list; a slip is told, and it is no path."""
    run = nb.open_run(str(folder))
    assert run.row("a") == next(run.rows())
    with pytest.raises(nb.UsageError, match=r"has no row 'A'\. Did you mean 'a'\?"):
        run.row("A")
    with pytest.raises(nb.UsageError, match="has no row 'half"):
        run.row("half \ud83d")


def test_an_image_is_opened_whole(folder: Path) -> None:
    """Its file is not held open, and may go."""
    row = nb.open_run(folder).row("a")
    image = row.open()
    assert row.image is not None
    row.image.unlink()
    assert (image.size, image.format) == ((8, 6), "PNG")
    assert image.getpixel((0, 0))


def test_a_row_without_an_image_says_why(folder: Path) -> None:
    """In the words of what became of it."""
    run = nb.open_run(folder)
    with pytest.raises(nb.UsageError, match="Row c has no image; it is pending"):
        run.row("c").open()
    with pytest.raises(nb.UsageError, match="Row b has no image; it is failed: "):
        run.row("b").open()


def test_a_row_whose_file_is_gone_is_not_called_completed(folder: Path) -> None:
    """As in results.csv; one that vanishes later is told when it is opened, with what fetches it."""
    run = nb.open_run(folder)
    row = run.row("a")
    (folder / "images" / "a.png").unlink()
    with pytest.raises(nb.UsageError, match=r"The image of row a is gone\. `audit\(.*, repair=True\)`"):
        row.open()
    assert (run.row("a").status, run.row("a").image) == (RowStatus.RUNNING, None)
    assert next(run.rows()).status is RowStatus.RUNNING


def test_what_stands_in_the_place_of_an_image_is_not_opened(folder: Path, tmp_path: Path) -> None:
    """A link may lead anywhere; a file with other bytes is the person's own, unless it is none."""
    path, row = folder / "images" / "a.png", nb.open_run(folder).row("a")
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    with pytest.raises(nb.ImageRejected, match="is no whole image"):
        row.open()
    other = io.BytesIO()
    PIL.Image.new("RGB", (2, 2)).save(other, "GIF")
    for data in (b"a text", b"", other.getvalue()):
        path.write_bytes(data)
        with pytest.raises(nb.ImageRejected, match="is no whole image"):
            row.open()
    (tmp_path / "elsewhere.png").write_bytes(whole)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(nb.UsageError, match=r"a\.png cannot be read: it is a symbolic link"):
        row.open()


@pytest.mark.parametrize(("library", "use"), [("PIL", "open"), ("pandas", "table")])
def test_without_a_library_it_is_said_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, library: str, use: str
) -> None:
    """All else works without."""
    run = nb.open_run(folder)
    row = run.row("a")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(nb.UsageError, match=rf"{library} is not installed\. `python -m pip install pi?"):
        row.open() if use == "open" else run.to_pandas()


def test_all_images_of_a_request_are_named(tmp_path: Path) -> None:
    """The first is the row's, the others stand beside it."""
    (tmp_path / "images").mkdir()
    store = Store(tmp_path / "state.sqlite3")
    take(store, [Draft("m:1", Request("m", "p"), "r")], ())
    store.apply([intent(1, attempt=1, stem="r"), FACTS["Accepted"](1)])
    store.apply([facts.Ready(1, ("https://e/1", "https://e/2"), 5.0, 1.0, 9.0, 2, ("r-2",))])
    for number, name in enumerate(("r", "r-2"), 1):
        (tmp_path / "images" / f"{name}.png").write_bytes(b"cat!")
        image = Image(f"images/{name}.png", "image/png", 9, 5, 4, f"{number}" * 64)
        store.apply([facts.Saved(1, image, 1.0, number=number, is_last=number == 2)])
    store.close()
    row = nb.open_run(tmp_path).row("r")
    assert row.image == tmp_path / "images" / "r.png"
    assert row.other_images == (tmp_path / "images" / "r-2.png",)


def test_the_table_is_results_csv_as_the_state_has_it_now(folder: Path) -> None:
    """Before there is such a file, too; texts stay texts."""
    frame = nb.open_run(folder).to_pandas()
    write_results(find(folder), Disk())
    assert frame.equals(read_results(folder))
    assert list(frame["style"]) == ["ink", "null", "007"]


def test_the_status_is_that_of_the_command(folder: Path) -> None:
    """Typed here, and the same as JSON."""
    status = nb.open_run(folder).status()
    assert isinstance(status, nb.Standing)
    assert (status.rows, status.counts["completed"], status.is_running) == (3, 1, False)
    assert '"completed": 1' in as_json(status)


def test_each_look_is_of_its_own_moment(folder: Path) -> None:
    """What is made meanwhile shows, but not in the middle of a list."""
    run = nb.open_run(folder)
    rows = run.rows()
    next(rows)
    finish(folder, 3, Earlier("c", {"style": "007"}))
    assert [row.status for row in rows][-1] is RowStatus.PENDING
    assert run.row("c").status is RowStatus.COMPLETED


def test_rows_may_be_read_on_in_another_thread(folder: Path) -> None:
    """As a server does that hands out one after another; to close them, too."""
    with ThreadPoolExecutor(1) as other, nb.open_run(folder) as run:
        rows, more = run.rows(), run.rows()
        assert (next(rows).id, next(more).id) == ("a", "a")
        assert other.submit(next, rows).result().id == "b"
        other.submit(run.close).result()
        assert list(more) == []


def opened(folder: Path) -> list[str]:
    """The files of the folder that this process holds open."""
    links = (Path(f"/proc/self/fd/{fd.name}") for fd in Path("/proc/self/fd").iterdir())
    found: list[str] = []
    for link in links:
        try:
            found.append(str(link.readlink()))
        except OSError:  # that of the list itself
            continue
    return [name for name in found if name.startswith(str(folder))]


def test_nothing_is_left_open_behind_the_block(folder: Path) -> None:
    """Neither by a list that was not read to its end, nor by one that nobody began."""
    with nb.open_run(folder) as run:
        kept: list[Iterator[nb.Row]] = [run.rows(), run.rows()]
        next(kept[0])
        assert opened(folder)
    assert opened(folder) == []
    assert list(kept[0]) == []


def test_what_is_no_output_folder_is_told(tmp_path: Path) -> None:
    """At once, and nothing is made."""
    with pytest.raises(nb.UsageError, match="is not an output folder"):
        nb.open_run(tmp_path)
    with pytest.raises(nb.UsageError):
        nb.open_run(tmp_path / "nowhere")
    (tmp_path / "state.sqlite3").write_bytes(b"x" * 5000)
    with pytest.raises(nb.StateFailed):
        nb.open_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.sqlite3"]


def test_a_damaged_row_is_an_error_of_ours(folder: Path) -> None:
    """Whichever way it is read."""
    with sqlite3.connect(folder / "state.sqlite3") as db:
        db.execute("UPDATE rows SET request = '[]' WHERE id = 'b'")
    db.close()
    run = nb.open_run(folder)
    for read in (lambda: list(run), lambda: run.row("b"), run.to_pandas):
        with pytest.raises(nb.StateFailed):
            read()


def test_an_audit_is_that_of_the_command(folder: Path) -> None:
    """Each thing that is not explained, with what to do."""
    (folder / "images" / "a.png").unlink()
    kinds = {found.kind: found.what for found in nb.audit(folder).findings}
    assert kinds["missing"] == "images/a.png"

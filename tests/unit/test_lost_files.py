"""Saved images that are gone, changed or back again: what a run and a repair make of each."""

from __future__ import annotations

import hashlib
from contextlib import closing
from pathlib import Path

import pytest

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.jobs.session import fetch_anew, keep_changed, notice_lost_files
from nanobanana_batch.model import Image
from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import Phase
from nanobanana_batch.state.store import Store
from tests.unit.night import done_folder, phases
from tests.unit.test_state_store import FACTS


def noticed(folder: Path) -> list[Phase]:
    """The phases after a run has looked at the files."""
    with closing(Store(folder / STATE_NAME)) as store:
        notice_lost_files(store, folder)
    return phases(folder)


def test_only_what_is_not_there_is_lost(tmp_path: Path) -> None:
    """Neither what somebody has changed nor a folder in the way is fetched again, all at once or not."""
    folder = done_folder(tmp_path)
    images = folder / "images"
    for name in ("row-0.png", "row-1.png", "row-2.png"):
        (images / name).write_bytes(b"optimised")
    assert noticed(folder) == [Phase.SAVED] * 3
    (images / "row-1.png").unlink()
    (images / "row-1.png").mkdir()
    assert noticed(folder) == [Phase.SAVED] * 3
    (images / "row-1.png").rmdir()
    assert noticed(folder) == [Phase.SAVED, Phase.ACCEPTED, Phase.SAVED]


def test_a_file_that_is_back_counts_only_with_its_own_bytes(tmp_path: Path) -> None:
    """The same size is not enough."""
    folder = done_folder(tmp_path)
    path = folder / "images" / "row-1.png"
    data = path.read_bytes()
    path.unlink()
    assert noticed(folder)[1] is Phase.ACCEPTED
    path.write_bytes(bytes(len(data)))
    assert noticed(folder)[1] is Phase.ACCEPTED
    path.write_bytes(data)
    assert noticed(folder)[1] is Phase.SAVED


@pytest.mark.parametrize("count", [1, 3])
def test_all_images_gone_at_once_were_moved(tmp_path: Path, count: int) -> None:
    """Several that vanish together are asked about before anything is sent; a single one is fetched."""
    folder = done_folder(tmp_path, count)
    (folder / "images").rename(tmp_path / "moved")
    if count == 1:
        assert noticed(folder) == [Phase.ACCEPTED]
        return
    with pytest.raises(UsageError, match="All 3 images"):
        noticed(folder)
    assert phases(folder) == [Phase.SAVED] * 3


def test_repair_fetches_an_image_that_changed_without_changing_its_size(tmp_path: Path) -> None:
    """A run looks at names only; `audit --repair` looks at every byte."""
    folder = done_folder(tmp_path)
    path = folder / "images" / "row-1.png"
    path.write_bytes(bytes(path.stat().st_size))
    with closing(Store(folder / STATE_NAME)) as store:
        fetch_anew(store, folder)
    assert phases(folder) == [Phase.SAVED, Phase.ACCEPTED, Phase.SAVED]


@pytest.mark.parametrize(
    "then", [(), ("Ready",), ("Failed",), ("Failed, refused",), ("Expired",), ("Ready", "Expired")]
)
def test_a_changed_image_that_is_not_to_be_had_any_more_stays_its_rows(
    tmp_path: Path, then: tuple[str, ...]
) -> None:
    """However a repair ends, killed at once included, and whatever command comes next."""
    folder = done_folder(tmp_path)
    (folder / "images" / "row-0.png").write_bytes(b"optimised")
    (folder / "images" / "row-1.png").unlink()
    with closing(Store(folder / STATE_NAME)) as store:
        fetch_anew(store, folder)
        store.apply([FACTS[name](attempt) for attempt in (1, 2) for name in then])
    lost = phases(folder)[1]
    assert phases(folder) == [lost, lost, Phase.SAVED]
    assert noticed(folder) == [Phase.SAVED, lost, Phase.SAVED]
    assert noticed(folder) == [Phase.SAVED, lost, Phase.SAVED]


def test_what_a_repair_has_fetched_beside_a_changed_image_is_kept(tmp_path: Path) -> None:
    """The changed file is nobody's then; one that was removed meanwhile is lost like any other."""
    folder = done_folder(tmp_path)
    images = folder / "images"
    for name in ("row-0.png", "row-1.png"):
        (images / name).write_bytes(b"optimised")
    with closing(Store(folder / STATE_NAME)) as store:
        fetch_anew(store, folder)
        (images / "row-0~2.png").write_bytes(b"image")
        again = Image("images/row-0~2.png", "image/png", 9, 5, 5, hashlib.sha256(b"image").hexdigest())
        store.apply([FACTS["Ready"](1), facts.Saved(1, again, 9.0)])
        (images / "row-1.png").unlink()
        assert keep_changed(store, folder) == 0
    assert phases(folder) == [Phase.SAVED, Phase.ACCEPTED, Phase.SAVED]
    assert noticed(folder) == [Phase.SAVED, Phase.ACCEPTED, Phase.SAVED]

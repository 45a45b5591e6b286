"""What the head of a gallery says of money is what `status` says, and the report beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nanobanana_batch as nb
from nanobanana_batch.files.folder import STATE_NAME, find
from nanobanana_batch.files.lock import only_writer
from nanobanana_batch.jobs.outlook import priced_standing
from nanobanana_batch.jobs.report import make_report
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.last_run import remembered_end
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken
from tests.gallery.test_build import data
from tests.report.nights import BEGAN, FLASH, Row, Try, bad_night, make_night


def head(gallery: Path) -> dict[str, Any]:
    """What the page is told for its head."""
    return dict(data(gallery)["summary"])


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which everything has gone wrong once; some of its rows have left the manifest since."""
    folder = bad_night(tmp_path_factory.mktemp("money") / "night")
    store, problems = Store(folder / STATE_NAME), ProblemLog()
    with Roster(derive_id, fold_id) as roster:
        fox = Request(FLASH, "a fox", "1:1", "1K")
        kept = [Draft("test:new", Request("m", "a newt", "1:1", "1K"), "newt")]
        kept += [Draft(f"test:fox-{n}", fox, f"fox-{n}", variables=(("who", "fox"),)) for n in range(30)]
        roster.add_all(kept, problems)
        problems.raise_if_any()
        store.take_manifest(Taken(roster, "night", ("who",)))
    store.close()
    return folder


@pytest.mark.parametrize("has_left", [False, True], ids=["all rows", "some have left"])
def test_the_head_says_what_status_says(tmp_path: Path, night: Path, has_left: bool) -> None:
    """Used, reserved and unknown each for itself, to the last credit, also of rows that have left."""
    folder = night if has_left else bad_night(tmp_path / "night")
    found = priced_standing(find(folder))
    nb.gallery(folder, out=tmp_path / "pages")
    spent = head(tmp_path / "pages")["spent"]
    assert spent["used"] == found.credits_used > 0
    assert spent["reserved"] == found.credits_reserved > 0
    assert (spent["unknown"], spent["being_sent"]) == (found.credits_unknown, found.credits_being_sent)
    assert spent["unknown"] > 0
    assert spent["rows_left"] == sum(found.left_manifest.values())
    assert bool(spent["rows_left"]) is has_left
    assert spent["used"] == make_report([folder]).sums.credits_used
    assert spent["practice"] == 0
    nb.gallery(folder, out=tmp_path / "pages", only=["completed"])
    assert head(tmp_path / "pages")["spent"] == spent


def test_what_is_just_being_sent_is_not_unanswered(tmp_path: Path) -> None:
    """While a run is going on; before and after it, it is."""
    folder = make_night(tmp_path / "run", [Row("a"), Row("b", tries=())])
    store = Store(folder / STATE_NAME)
    with only_writer(folder), remembered_end(store):
        store.apply([facts.Intent(2, 2, 1, "b", "x@y.z", "me", b"{}", "f", "k", BEGAN, credits_expected=7.0)])
        nb.gallery(folder)
        spent, found = head(folder / "gallery")["spent"], priced_standing(find(folder))
        assert (spent["being_sent"], spent["unknown"]) == (7.0, 0.0)
        assert (spent["being_sent"], spent["rows_being_sent"]) == (found.credits_being_sent, found.being_sent)
        assert head(folder / "gallery")["going_on"]
    store.close()
    nb.gallery(folder)
    spent = head(folder / "gallery")["spent"]
    assert (spent["being_sent"], spent["unknown"], spent["rows_being_sent"]) == (0.0, 7.0, 0)


def test_practice_in_a_folder_with_paid_images_is_told_apart(tmp_path: Path) -> None:
    """By request, not by folder; the report says the same."""
    folder = make_night(tmp_path / "run", [Row("a")], provider="local")
    more = [Row("a"), Row("b", tries=())]
    store, problems = Store(folder / STATE_NAME), ProblemLog()
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(
            [Draft(f"t:{row.id}", Request(row.model, row.prompt, "1:1", "1K"), row.id) for row in more],
            problems,
        )
        problems.raise_if_any()
        store.take_manifest(Taken(roster, "run", ()))
    store.apply(
        [
            facts.Intent(2, 2, 1, "b", "evolink@api.evolink.ai", "me", b"{}", "f", "k", BEGAN),
            facts.Accepted(2, TaskMade("task-2", "req", 5.0, 20.0), BEGAN),
            facts.Expired(2, "dead", BEGAN + 9),
        ]
    )
    store.close()
    nb.gallery(folder)
    spent = head(folder / "gallery")["spent"]
    assert (spent["used"], spent["practice"]) == (9.0, 4.0)
    assert make_report([folder]).folders[0].credits_practice == 4.0


def test_a_row_that_was_never_taken_lacks_no_price(tmp_path: Path) -> None:
    """The provider refused it at once: there is nothing that it should have said."""
    folder = make_night(
        tmp_path / "run", [Row("a", tries=(Try("rejected"),)), Row("b", tries=(Try("unknown"),))]
    )
    nb.gallery(folder)
    assert head(folder / "gallery")["totals"]["without_price"] == 0

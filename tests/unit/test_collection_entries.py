"""Output folders as one sequence of rows with their pictures, and what can be asked for in it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from nanobanana_batch.collection.columns import FIXED, column_of, getter
from nanobanana_batch.collection.entries import Collection, Entry, names_of
from nanobanana_batch.collection.judgements import Judged, Judgement, Verdict, save_judged
from nanobanana_batch.collection.named import Named
from nanobanana_batch.collection.preferences import Better, Choice, folder_between, pairs, save_choices
from nanobanana_batch.collection.selection import Selection, read_selection
from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME, held
from nanobanana_batch.files.standing import Stands
from nanobanana_batch.model import Image, RowStatus, TaskMade
from nanobanana_batch.state import facts
from nanobanana_batch.state.store import Store
from tests.unit.earlier_run import Earlier, make_run
from tests.unit.fake_provider import picture
from tests.unit.test_state_migration import VERSIONS, old_state

INK = Earlier("fox-ink", {"style": "ink"})
SIZE = "8x6 for 1K 1:1"
PHOTO = Earlier("fox-photo", {"style": "photo"})


def entries(*folders: Path) -> dict[str, Entry]:
    """By id."""
    return {entry.id: entry for entry in Collection(folders).entries()}


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Folders with rows of every kind."""
    make_run(
        tmp_path / "one" / "out", [INK, PHOTO, Earlier("gone", end="failed"), Earlier("new", end="pending")]
    )
    make_run(tmp_path / "two" / "out", [Earlier("b", {"note": "mine"})], ("note",), "evolink@api.example.com")
    return tmp_path / "one" / "out", tmp_path / "two" / "out"


def add_picture(folder: Path, attempt: int, id_: str, number: int) -> None:
    """Another image of a row that is not finished yet."""
    data = picture(f"{id_}-{number}")
    name = f"images/{id_}~{number}.png" if number > 1 else f"images/{id_}.png"
    folder.joinpath(name).write_bytes(data)
    image = Image(name, "image/png", 8, 6, len(data), hashlib.sha256(data).hexdigest())
    store = Store(folder / STATE_NAME)
    if number == 1:
        store.apply([facts.Ready(attempt, ("https://x/1", "https://x/2"), 99.0, 3.0, 3.0)])
    store.apply([facts.Saved(attempt, image, 4.0 + number, number, number == 2)])
    store.close()


def test_folders_are_one_sequence(two: tuple[Path, Path]) -> None:
    """In the order in which they were named, each in that of its manifest; each once."""
    collection = Collection([two[1], two[0], two[1] / ".." / "out"])
    assert collection.names == ("two/out", "one/out")
    assert collection.variables == ("note", "style")
    assert collection.rows == 5
    found = list(collection.entries())
    assert [(entry.folder_name, entry.id) for entry in found] == [
        ("two/out", "b"),
        *(("one/out", id_) for id_ in ("fox-ink", "fox-photo", "gone", "new")),
    ]
    assert [entry.status for entry in found][1:] == [
        *(RowStatus.COMPLETED, RowStatus.COMPLETED, RowStatus.FAILED, RowStatus.PENDING)
    ]
    assert [entry.is_practice for entry in found] == [False, True, True, True, False]
    assert [entry.error_code for entry in found] == [None, None, None, "service_error", None]


def test_a_row_tells_its_times_and_pictures(two: tuple[Path, Path]) -> None:
    """In Unix seconds; the file is where it is."""
    (one,) = entries(two[1]).values()
    (shown,) = one.pictures
    assert (one.intended_at, one.accepted_at, one.saved_at, one.attempts) == (1.0, 2.0, 4.0, 1)
    assert shown.file.read_bytes() == picture("b")
    assert (shown.number, shown.path, shown.stands) == (1, "images/b.png", Stands.NOT_LOOKED_AT)


def test_every_image_of_a_row_is_there(tmp_path: Path) -> None:
    """While one is missing the row is not completed, and has none."""
    make_run(tmp_path, [INK, Earlier("many", end="pending")])
    store = Store(tmp_path / STATE_NAME)
    store.apply([facts.Intent(2, 2, 1, "many", "local", "me", b"{}", "f", "key-2", 1.0)])
    store.apply([facts.Accepted(2, TaskMade("task-2", "req", 4.0, 20.0), 2.0)])
    store.close()
    add_picture(tmp_path, 2, "many", 1)
    assert entries(tmp_path)["many"].pictures == ()
    add_picture(tmp_path, 2, "many", 2)
    found = entries(tmp_path)["many"]
    assert [(one.number, one.path) for one in found.pictures] == [
        (1, "images/many.png"),
        (2, "images/many~2.png"),
    ]
    assert found.saved_at == 6.0
    tmp_path.joinpath("images/many~2.png").unlink()
    gone = entries(tmp_path)["many"]
    assert (gone.status, gone.pictures, gone.note) == (RowStatus.RUNNING, (), f"the file is gone; {SIZE}")


def test_a_changed_file_is_told(tmp_path: Path) -> None:
    """By its size, or by its content where that is asked for; a link in its place is none."""
    make_run(tmp_path, [INK, PHOTO, Earlier("linked"), Earlier("gone", end="failed")])
    file = tmp_path / "images/fox-ink.png"
    file.write_bytes(file.read_bytes()[::-1])
    tmp_path.joinpath("images/fox-photo.png").write_bytes(b"other")
    tmp_path.joinpath("images/linked.png").unlink()
    tmp_path.joinpath("images/linked.png").symlink_to(file)
    found = entries(tmp_path)
    assert found["fox-photo"].pictures[0].stands is Stands.CHANGED
    assert found["fox-photo"].note == f"the file was changed since it was saved; {SIZE}"
    assert found["linked"].pictures[0].stands is Stands.NOT_A_FILE
    assert not found["linked"].pictures[0].is_there
    read = {entry.id: entry for entry in Collection([tmp_path], by_content=True).entries()}
    assert read["fox-ink"].pictures[0].stands is Stands.CHANGED
    assert read["gone"].pictures == ()


def test_a_run_that_is_going_on_is_looked_at_in_one_moment(two: tuple[Path, Path]) -> None:
    """What it saves meanwhile is of the next look."""
    collection = Collection([two[0]])
    with held(collection.folders[0]):
        walk = collection.entries()
        first = next(walk)
        store = Store(two[0] / STATE_NAME)
        store.apply([facts.Intent(4, 4, 1, "new", "local", "me", b"{}", "f", "key-4", 1.0)])
        store.apply([facts.Accepted(4, TaskMade("task-4", "req", 4.0, 20.0), 2.0)])
        store.close()
        assert [first.status, *(entry.status for entry in walk)][-1] is RowStatus.PENDING
        assert list(collection.entries())[-1].status is RowStatus.RUNNING


@pytest.mark.parametrize("version", VERSIONS)
def test_states_of_earlier_versions_are_looked_at_as_they_are(tmp_path: Path, version: int) -> None:
    """Without being made current ones."""
    old_state(tmp_path / STATE_NAME, version)
    before = tmp_path.joinpath(STATE_NAME).read_bytes()
    tmp_path.joinpath("images").mkdir()
    tmp_path.joinpath("images/n8.png").write_bytes(b"12345")
    found = entries(tmp_path)
    assert len(found) == 16
    assert found["n8"].status is RowStatus.COMPLETED
    assert [one.path for one in found["n8"].pictures] == ["images/n8.png"]
    assert found["n16"].provider is None
    assert tmp_path.joinpath(STATE_NAME).read_bytes() == before


def test_what_is_no_output_folder_is_told(tmp_path: Path) -> None:
    """Before anything is made of the others."""
    make_run(tmp_path / "out", [INK])
    with pytest.raises(UsageError, match="nowhere"):
        Collection([tmp_path / "out", tmp_path / "nowhere"])
    tmp_path.joinpath("out/ratings.csv").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match=r"ratings\.csv.*symbolic link"):
        list(Collection([tmp_path / "out"]).entries())


def test_what_was_said_and_measured_is_of_the_picture(two: tuple[Path, Path]) -> None:
    """Its names are those of everything else."""
    found = entries(two[0])["fox-ink"]
    shown = found.pictures[0]
    judgement = Judgement(4, Verdict.REJECTED, "six legs")
    save_judged(two[0], [Judged("x", "y", found.row_key, shown.sha256, judgement)], Disk())
    two[0].joinpath("checks.csv").write_text(f"sha256,is_blank,width\n{shown.sha256},,8\n")
    assert Collection([two[1], two[0]]).checks == ("is_blank", "width")
    found = entries(two[0])["fox-ink"]
    names = ("rating", "verdict", "rating_note", "check_width", "check_is_blank", "width", "check_other")
    assert [getter(name)(found, found.pictures[0]) for name in names] == [
        *(4, "rejected", "six legs", "8", None, 8, None)
    ]
    assert getter("rating")(found, None) is None
    unrated = entries(two[0])["fox-photo"]
    assert getter("rating")(unrated, unrated.pictures[0]) is None


def test_variables_may_have_our_names(tmp_path: Path) -> None:
    """None stands for another, and none for what is ours."""
    variables = ["note", "var_note", "var_var_note", "image", "check_size", "a b", "größe", "var_", "style"]
    make_run(tmp_path, [Earlier("x", {name: f"<{name}>" for name in variables})], tuple(variables))
    found = entries(tmp_path)["x"]
    columns = [column_of(name) for name in variables]
    assert len({*columns, *FIXED}) == len(variables) + len(FIXED)
    assert [getter(name)(found, found.pictures[0]) for name in columns] == [f"<{name}>" for name in variables]
    assert getter("note")(found, found.pictures[0]) == SIZE


def test_names_tell_folders_apart() -> None:
    """By as little as it takes."""
    assert names_of([Path("/a/x/out"), Path("/b/x/out")]) == ("a/x/out", "b/x/out")
    assert names_of([Path("/a/one"), Path("/a/two")]) == ("one", "two")
    assert names_of([]) == ()


def taken(selection: Selection, *folders: Path) -> list[str]:
    """Ids of what it takes: of rows without pictures as well."""
    return [
        entry.id
        for entry in Collection(folders).entries()
        for one in entry.pictures or (None,)
        if selection.takes(entry, one)
    ]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Values with all that separates, and judgements."""
    rows = [
        Earlier("a", {"style": "a>=b", "n": "10", "odd=<name": "1"}),
        Earlier("b", {"style": "red, green", "n": "9.5", "odd=<name": "2"}),
        Earlier("c", {"style": "Ink\\, old", "n": "nan", "odd=<name": ""}),
        Earlier("d", {"style": "ink", "n": ""}, "failed"),
    ]
    make_run(tmp_path, rows, ("style", "n", "odd=<name"))
    judged = [Judged("a", "", "", "", Judgement(5)), Judged("b", "", "", "", Judgement(2, Verdict.ACCEPTED))]
    save_judged(tmp_path, judged, Disk())
    return tmp_path


@pytest.mark.parametrize(
    ("only", "where", "ids"),
    [
        ((), (), "abcd"),
        (("completed",), (), "abc"),
        (("rated",), (), "ab"),
        (("unrated",), (), "c"),
        (("accepted", "failed"), (), "bd"),
        (("accepted,failed",), (), "bd"),
        ((), ("style=a>=b",), "a"),
        ((), ("style = a>=b",), "a"),
        ((), ("prompt~A in {",), "a"),
        ((), (r"style=red\, green",), "b"),
        ((), (r"style=red\, green,ink",), "bd"),
        ((), ("style!=ink,a>=b",), "bc"),
        ((), ("style~INK",), "cd"),
        ((), ("n>=9.5",), "ab"),
        ((), ("n<10",), "b"),
        ((), ("n=",), "d"),
        ((), ("rating>=2", "verdict="), "a"),
        ((), ("rating=5,4",), "a"),
        ((), ("odd=<name=2",), "b"),
        ((), ("odd=<name>1",), "b"),
        ((), ("status=failed",), "d"),
        ((), ("width=8",), "abc"),
    ],
)
def test_what_is_asked_for_is_taken(
    many: Path, only: tuple[str, ...], where: tuple[str, ...], ids: str
) -> None:
    """Whatever signs and commas there are in names and values."""
    selection = read_selection(only, where, ("style", "n", "odd=<name"))
    assert "".join(taken(selection, many)) == ids
    assert selection.idle() == [] or where == (r"style=red\, green,ink",)


@pytest.mark.parametrize(
    ("only", "where", "told"),
    [
        (("acepted",), (), "(?s)--only 'acepted': it has to be one of .*Did you mean 'accepted'"),
        ((), ("stile=ink",), "(?s)nothing is called 'stile' there.*Did you mean style"),
        ((), ("=ink",), "is no condition"),
        ((), ("style",), "(?s)is no condition.*For example"),
        ((), ("n>=many",), "wants a number"),
        ((), ("n>=1_0",), "wants a number"),
        ((), ("n>nan",), "wants a number"),
    ],
)
def test_what_cannot_be_meant_is_told(only: tuple[str, ...], where: tuple[str, ...], told: str) -> None:
    """With the word that was probably meant."""
    with pytest.raises(UsageError, match=told):
        read_selection(only, where, ("style", "n"))


def test_a_value_that_nothing_has_is_told(many: Path) -> None:
    """It was probably misspelt; as `where` of a manifest says it."""
    selection = read_selection((), ("style=ink,imk", "n>100", "status=completed"), ("style", "n"))
    assert taken(selection, many) == []
    first, second = selection.idle()
    assert first.startswith("--where: nothing has style = 'imk'; there it is 'Ink")
    assert second == "--where: nothing has n > '100'; there it is '', '10', '9.5', 'nan'."
    assert read_selection((), ("style=imk",), ("style",)).idle() == []


def test_pairs_are_found_over_folders(two: tuple[Path, Path]) -> None:
    """As they are now: of one that has gone, or is another picture now, nothing is known."""
    one, other = entries(two[0]), entries(two[1])

    def named(entry: Entry) -> Named:
        shown = entry.pictures[0]
        return Named(entry.id, shown.path, entry.row_key, shown.sha256)

    ink, photo, b = named(one["fox-ink"]), named(one["fox-photo"]), named(other["b"])
    across = folder_between(*two)
    assert across == "../../two/out"
    made = [
        Choice("fox", Named("fox-ink"), photo, Better.SECOND),
        Choice("fox", ink, b, Better.FIRST, across),
        Choice("fox", photo, b, Better.TIE, across),
        Choice("fox", ink, replace(photo, sha256="0" * 64), Better.FIRST),
    ]
    save_choices(two[0], made, Disk())
    found = list(pairs(Collection(two)))
    assert [(pair.first[0].id, pair.second[0].id, pair.better) for pair in found] == [
        ("fox-ink", "fox-photo", Better.SECOND),
        ("fox-ink", "b", Better.FIRST),
        ("fox-photo", "b", Better.TIE),
    ]
    assert [pair.chosen and pair.chosen[0].id for pair in found] == ["fox-photo", "fox-ink", None]
    assert [pair.rejected and pair.rejected[0].id for pair in found] == ["fox-ink", "b", None]
    assert len(list(pairs(Collection([two[0]])))) == 1
    os.unlink(two[0] / "images/fox-ink.png")
    assert [pair.better for pair in pairs(Collection(two))] == [Better.TIE]


def test_an_empty_collection_has_no_pairs(two: tuple[Path, Path]) -> None:
    """Without asking for rows."""
    assert list(pairs(Collection(two))) == []

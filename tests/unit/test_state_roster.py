"""Before anything is sent each row has a key of its own and a name of its own."""

from __future__ import annotations

import hashlib

import pytest

from nanobanana_batch.errors import BadSurroundings, ManifestError
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Request, Row, request_as_json, request_from_json, row_key
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state.roster import Roster
from tests.unit.connections import connections


def rows_of(drafts: list[Draft], problems: ProblemLog | None = None) -> list[Row]:
    """The rows that a roster makes of drafts."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(drafts, ProblemLog() if problems is None else problems)
        assert len(roster) == len(list(roster.rows()))
        return list(roster.rows())


def digest_of(drafts: list[Draft]) -> str:
    """The digest of drafts."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(drafts, ProblemLog())
        return roster.digest


def draft(prompt: str, id_: str | None = None, line: int = 1, variant: int = 1, **variables: str) -> Draft:
    """One row of a manifest."""
    return Draft(f"m.csv:{line}", Request("m", prompt), id_, variant, tuple(variables.items()))


def test_a_row_comes_back_as_it_was_given() -> None:
    """With its place and key."""
    request = Request("m", 'a "cat"\n', "1:1", "2K", ("https://x/1.png",), "png", True, False, "high")
    given = Draft("m.yaml:7", request, "cat", 2, (("mood", "é"), ("light", "")))
    (row,) = rows_of([given])
    assert row == Row(0, row_key(request, 2), "cat", request, 2, given.variables, "m.yaml:7")


@pytest.mark.parametrize(
    ("one", "two"),
    [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE"), ("same", "same")],
)
def test_ids_that_some_file_system_takes_for_one_are_reported_with_both_places(one: str, two: str) -> None:
    """The second is left out, the first stays; the rest is still looked at."""
    problems = ProblemLog()
    rows = rows_of(
        [draft("a", one, 1), draft("b", two, 2), draft("c", "other", 3), draft("d", one, 4)], problems
    )
    assert [row.id for row in rows] == [one, "other"]
    first, second = problems
    assert (first.source, first.field, second.source) == ("m.csv:2", "id", "m.csv:4")
    assert "m.csv:1" in first.message
    assert (repr(one) in first.message) or one == two
    with pytest.raises(ManifestError, match="2 problems"):
        problems.raise_if_any()


def test_who_writes_a_prompt_twice_wants_two_images() -> None:
    """Repeated rows have different keys, the first that of a row that is alone."""
    one, two, three = rows_of([draft("a"), draft("a"), draft("a")])
    assert one.key == row_key(Request("m", "a"), 1)
    assert len({one.key, two.key, three.key}) == 3
    assert len({one.id, two.id, three.id}) == 3


def test_repeated_rows_keep_their_keys_when_others_come_or_places_change() -> None:
    """Neither swapping nor inserting costs an image."""
    before = {row.key for row in rows_of([draft("a", "x"), draft("b"), draft("a", "y")])}
    after = {row.key for row in rows_of([draft("new"), draft("a", "y"), draft("a", "x"), draft("b")])}
    assert before < after
    assert len(after) == 4


def test_a_key_depends_on_request_and_variant_alone() -> None:
    """Not on id, place, source or variables."""
    (one,) = rows_of([draft("a", "x", 1, mood="dark")])
    _, two = rows_of([draft("z"), draft("a", "y", 9, mood="light")])
    (three,) = rows_of([draft("a", "x", variant=2)])
    assert one.key == two.key != three.key


def test_the_form_of_a_key_is_fixed() -> None:
    """A change here would pay again for every row of every folder that exists."""
    plain = b'{"occurrence":0,"request":{"model":"m","prompt":"a"},"variant":1}'
    full = (
        b'{"occurrence":1,"request":{"aspect_ratio":"1:1","images":["u"],"model":"m","prompt":"\\u00e9",'
        b'"web_search":true},"variant":2}'
    )
    assert row_key(Request("m", "a"), 1) == f"r1-{hashlib.sha256(plain).hexdigest()}"
    request = Request("m", "\u00e9", "1:1", images=("u",), web_search=True)
    assert row_key(request, 2, 1) == f"r1-{hashlib.sha256(full).hexdigest()}"
    own = b'{"occurrence":0,"request":{"extra":{"raw":true,"seed":7},"model":"m","prompt":"a"},"variant":1}'
    request = Request("m", "a", extra=(("raw", True), ("seed", 7)), priced_by="{}")
    assert row_key(request, 1) == f"r1-{hashlib.sha256(own).hexdigest()}"


def test_values_that_are_equal_to_python_are_not_one_request() -> None:
    """1, 1.0 and true are three bodies: each has its own key, and is stored as it is, in whatever order."""
    for values in ((1, True, 1.0), (True, 1.0, 1)):
        requests = [Request("m", "a", extra=(("x", value),)) for value in values]
        assert len({row_key(request, 1) for request in requests}) == 3
        stored = [dict(request_from_json(request_as_json(request)).extra)["x"] for request in requests]
        assert [type(value) for value in stored] == [type(value) for value in values]


def test_derived_ids_are_unique_also_beside_given_ones() -> None:
    """A derived id gives way to a taken one, and never becomes a problem."""
    problems = ProblemLog()
    (plain,) = rows_of([draft("a cat")])
    rows = rows_of([draft("other", plain.id.upper()), draft("a cat"), draft("a cat")], problems)
    assert not problems
    assert len({fold_id(row.id) for row in rows}) == 3
    assert rows[1].id == f"{plain.id}-2"


def test_a_row_that_is_left_out_does_not_shift_keys() -> None:
    """The key of a repetition counts the rows that are there."""
    rows = rows_of([draft("x", "id"), draft("a", "ID"), draft("a")])
    assert rows[1].key == row_key(Request("m", "a"), 1)
    assert len(rows) == 2


@pytest.mark.parametrize(
    "other",
    [
        [draft("b", "y"), draft("a", "x")],
        [draft("a", "x")],
        [draft("a", "z"), draft("b", "y")],
        [draft("a", "x", mood="dark"), draft("b", "y")],
        [draft("a", "x"), draft("c", "y")],
        [draft("a", "x"), draft("b", "y", 5)],
    ],
    ids=["places", "fewer", "id", "variables", "prompt", "source"],
)
def test_the_digest_changes_with_anything_that_people_see(other: list[Draft]) -> None:
    """Else an edit would not reach the state."""
    rows = [draft("a", "x"), draft("b", "y")]
    assert digest_of(rows) == digest_of(list(rows))
    assert digest_of(rows) != digest_of(other)


def test_the_first_rows_can_be_read_alone() -> None:
    """For `plan`."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all([draft(str(n)) for n in range(9)], ProblemLog())
        assert [row.position for row in roster.rows(limit=2)] == [0, 1]


def test_a_row_is_found_by_its_id() -> None:
    """However its case is written; what is no id finds nothing."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all([draft("a", "Cat"), draft("b", "dog")], ProblemLog())
        assert roster.find("cat") == roster.find("Cat") == next(roster.rows())
        assert roster.find("bird") is None


def test_rows_that_ask_for_the_same_are_counted() -> None:
    """Only those past the first; another variant is another request."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all([draft("a"), draft("b"), draft("a"), draft("a", variant=2), draft("a")], ProblemLog())
        assert roster.repeated() == 2


def test_the_shuffled_order_depends_on_what_rows_ask_for_alone() -> None:
    """Places, names and other rows do not matter: a pilot chooses the same rows tomorrow."""
    prompts = [str(n) for n in range(40)]
    orders = []
    for chosen in (prompts, prompts[::-1], [*prompts, "new"]):
        with Roster(derive_id, fold_id) as roster:
            roster.add_all([draft(prompt, line=n) for n, prompt in enumerate(chosen)], ProblemLog())
            orders.append([row.request.prompt for row in roster.shuffled()])
    assert orders[0] == orders[1] != prompts
    assert orders[0] == [prompt for prompt in orders[2] if prompt != "new"]
    assert sorted(orders[2]) == sorted([*prompts, "new"])


def test_combinations_of_values_are_tallied() -> None:
    """Each value as a person writes it, nothing where none is given."""
    requests = [
        Request("m", "1", "1:1", web_search=True),
        Request("m", "2", "1:1", web_search=True),
        Request("m", "3"),
    ]
    with Roster(derive_id, fold_id) as roster:
        roster.add_all([Draft("f", request) for request in requests], ProblemLog())
        tally = roster.tally(("model", "aspect_ratio", "web_search"))
        assert tally == {("m", "1:1", "true"): 2, ("m", "", ""): 1}
        assert roster.tally(()) == {(): 3}


def test_a_full_disk_is_told() -> None:
    """A long manifest is kept on disk, and that may have no room: said as what it is, before any payment."""
    with connections() as made, Roster(derive_id, fold_id) as roster:
        made[0].execute("PRAGMA max_page_count = 4")
        with pytest.raises(BadSurroundings, match="cannot be kept in a temporary file"):
            roster.add_all([draft(f"picture {n}" * 90, line=n) for n in range(200)], ProblemLog())

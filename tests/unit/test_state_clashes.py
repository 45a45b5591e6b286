"""However many rows want the same key or name, each ends as if they had been taken one by one."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.manifest import fold_id
from nanobanana_batch.model import (
    Draft,
    LocalImage,
    PlainDraft,
    Request,
    request_as_json,
    request_from_json,
    row_key,
)
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import clashes, roster
from nanobanana_batch.state.roster import Roster

Taken = tuple[list[tuple[str, str, str]], list[str], str]
"""(key, id, source) of each row, problems, digest."""


def first_word(draft: Draft | PlainDraft, key: str) -> str:
    """A derived id with few digits of the key, so that many clash, also with each other's numbers."""
    return draft.prompt + key[3:4].translate(str.maketrans("01234567", "--------", "89abcdef"))


def one_by_one(drafts: list[Draft]) -> Taken:
    """The rule itself: each row meets all rows in front of it."""
    held: dict[str, tuple[str, str]] = {}
    counts: dict[str, int] = {}
    rows, problems, digest = [], [], hashlib.sha256()
    for draft in drafts:
        base = row_key(draft.request, draft.variant)
        key = row_key(draft.request, draft.variant, counts.get(base, 0))
        id_ = draft.id
        if id_ is None:
            first = id_ = first_word(draft, key)
            number = 1
            while fold_id(id_) in held:
                number += 1
                id_ = f"{first}-{number}"
        elif fold_id(id_) in held:
            other, source = held[fold_id(id_)]
            same = "" if other == id_ else f" (which differs in case or Unicode form only: {other!r})"
            problems.append(f"{draft.source}: id: {id_!r} is already the id of the row at {source}{same}")
            continue
        held[fold_id(id_)] = (id_, draft.source)
        counts[base] = counts.get(base, 0) + 1
        rows.append((key, id_, draft.source))
        variables = json.dumps(dict(draft.variables), ensure_ascii=False)
        for part in (key, id_, request_as_json(draft.request), variables, draft.source):
            digest.update(part.encode() + b"\0")
    if (more := len(problems) - 10) > 0:  # they have one remedy
        last = problems[-1].partition(": ")[0]
        said = f"and {more} more rows have ids that are taken; a template names what tells them apart"
        problems = [*problems[:10], f'{last}: id: {said} (`id: "{{category}}-{{id}}"`, tables: `--id`)']
    return rows, problems, digest.hexdigest()


def all_at_once(drafts: list[Draft]) -> Taken:
    """What a roster makes of them."""
    log = ProblemLog()
    with Roster(first_word, fold_id) as taken:
        taken.add_all(drafts, log)
        rows = [(row.key, row.id, row.source) for row in taken.rows()]
        assert len(taken) == len(rows)
        assert taken.repeated() == len(rows) - len({row_key(r.request, r.variant) for r in taken.rows()})
        return rows, [str(problem) for problem in log], taken.digest


IDS = st.none() | st.sampled_from(["a", "A", "a-2", "a--2", "A-2", "a-2-2", "b", "B-", "\u212a", "k"])
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "a-2", "k"]), IDS, st.integers(1, 2), st.sampled_from(["", "\u00e9"])
    ),
    max_size=25,
)


def drafts_of(rows: list[tuple[str, str | None, int, str]]) -> list[Draft]:
    """Rows of a manifest."""
    return [
        Draft(f"m.csv:{line}", Request("m", prompt), id_, variant, (("mood", mood),) if mood else ())
        for line, (prompt, id_, variant, mood) in enumerate(rows, 2)
    ]


@given(ROWS)
@settings(max_examples=400, deadline=None)
def test_rows_end_as_if_they_had_been_taken_one_by_one(rows: list[tuple[str, str | None, int, str]]) -> None:
    """Keys, ids, problems with both places, and the digest that decides whether the state is written."""
    drafts = drafts_of(rows)
    assert all_at_once(drafts) == one_by_one(drafts)


@given(ROWS)
@settings(max_examples=200, deadline=None)
def test_numbers_that_happen_to_be_the_same_change_nothing(
    rows: list[tuple[str, str | None, int, str]],
) -> None:
    """Rows are looked up by numbers that stand for texts; only the texts decide."""
    drafts = drafts_of(rows)
    with pytest.MonkeyPatch.context() as patch:
        for module in (clashes, roster):
            patch.setattr(module, "mark_of", lambda key: int(key[3:4], 16) % 2)
            patch.setattr(module, "hash", lambda text: len(text) % 2, raising=False)
        assert all_at_once(drafts) == one_by_one(drafts)


def test_a_number_given_to_a_derived_id_may_take_a_later_rows_name() -> None:
    """The later row is looked at again, and the one behind it that it gives way to."""
    drafts = [
        Draft(f"m:{line}", Request("m", "a", aspect), id_)
        for line, (aspect, id_) in enumerate([("1:1", "a-"), ("1:1", None), (None, "a--2"), (None, "z")])
    ]
    rows, problems, _ = all_at_once(drafts)
    assert (rows, problems) == one_by_one(drafts)[:2]


TEXTS = st.text(max_size=8) | st.sampled_from(
    ['"prompt":""', '"prompt": ""', '\\"prompt\\": \\"\\"', "prompt"]
)
MAYBE = st.none() | TEXTS
NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
FILES = st.builds(LocalImage, TEXTS, TEXTS, TEXTS, st.integers(0, 9), TEXTS)
REQUESTS = st.builds(
    Request,
    model=TEXTS,
    prompt=TEXTS,
    aspect_ratio=MAYBE,
    images=st.lists(TEXTS, max_size=3).map(tuple),
    web_search=st.none() | st.booleans(),
    thinking_level=MAYBE,
    files=st.lists(FILES, max_size=2).map(tuple),
    extra=st.dictionaries(NAMES, TEXTS | st.integers() | st.booleans() | NUMBERS, max_size=3).map(
        lambda found: tuple(sorted(found.items()))
    ),
    priced_by=TEXTS,
)


@given(REQUESTS, st.integers(1, 3), st.integers(0, 2))
@settings(max_examples=400, deadline=None)
def test_a_key_is_the_hash_of_the_whole_canonical_request(
    request: Request, variant: int, occurrence: int
) -> None:
    """Whatever stands in its texts: a key that changed would pay again for every row."""
    fields = request.given()
    contents = {file.name: {"sha256": file.sha256} for file in request.files}
    if request.files:
        fields["images"] = [contents.get(image, image) for image in request.images]
    whole = {"request": fields, "variant": variant, "occurrence": occurrence}
    canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"))
    assert row_key(request, variant, occurrence) == f"r1-{hashlib.sha256(canonical.encode()).hexdigest()}"


@given(REQUESTS)
@settings(max_examples=200, deadline=None)
def test_a_request_is_stored_as_plain_json(request: Request) -> None:
    """In the order of the vocabulary, its files after it."""
    fields = request.given()
    if request.files:
        names = ("name", "path", "sha256", "size_bytes", "media_type")
        fields["files"] = [{name: getattr(file, name) for name in names} for file in request.files]
    if request.priced_by:
        fields["priced_by"] = request.priced_by
    assert request_as_json(request) == json.dumps(fields, ensure_ascii=False)
    assert request_from_json(request_as_json(request)) == request

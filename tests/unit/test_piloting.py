"""A pilot shows every level of every factor with few rows, always the same ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.errors import UsageError
from nanobanana_batch.jobs.pilot import choose_pilot, share
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Request, Row
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state.roster import Roster

RATIOS = ("1:1", "16:9", "9:16", None)


@contextmanager
def roster_of(drafts: Sequence[Draft]) -> Iterator[Roster]:
    """A roster."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(drafts, ProblemLog())
        yield roster


def product(styles: int, moods: int, ratios: int) -> list[Draft]:
    """Every combination; two of the factors are variables, one is a field."""
    return [
        Draft(
            f"m:{n}",
            Request("m", f"{style} {mood}", RATIOS[ratio]),
            variables=(("style", str(style)), ("mood", str(mood))),
        )
        for n, (style, mood, ratio) in enumerate(
            itertools.product(range(styles), range(moods), range(ratios))
        )
    ]


def chosen(drafts: Sequence[Draft], rows: int, factors: Sequence[str] = ("style", "mood")) -> list[Row]:
    """The rows of a pilot."""
    with roster_of(drafts) as roster:
        positions = choose_pilot(roster, factors, rows).positions
        return [row for row in roster.rows() if row.position in positions]


def levels_of(rows: Sequence[Row]) -> set[tuple[str, object]]:
    """All that they show."""
    variables = {pair for row in rows for pair in row.variables}
    fields = {("ratio", row.request.aspect_ratio) for row in rows}
    return {*variables, *fields, *(("resolution", row.request.resolution) for row in rows)}


@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4)),
    left_out=st.sets(st.integers(0, 79)),
    rows=st.integers(1, 30),
)
@settings(deadline=None, max_examples=60)
def test_every_level_is_shown_or_the_pilot_is_refused(
    sizes: tuple[int, int, int], left_out: set[int], rows: int
) -> None:
    """Also where combinations are left out; never more rows than asked for, never fewer than there are."""
    drafts = [draft for n, draft in enumerate(product(*sizes)) if n not in left_out]
    if not drafts:
        return
    with roster_of(drafts) as roster:
        everything = list(roster.rows())
    try:
        found = chosen(drafts, rows)
    except UsageError:
        assert rows < len(everything)
        return
    assert len(found) == min(rows, len(everything))
    assert levels_of(found) == levels_of(everything)


def test_a_whole_product_needs_no_more_rows_than_its_longest_factor_and_a_few() -> None:
    """Rows that show several new levels at once come first."""
    assert len(chosen(product(4, 5, 4), 7)) == 7
    with pytest.raises(UsageError, match=r"mood has the most: 5"):
        chosen(product(4, 5, 4), 4)


def test_too_few_rows_are_told_how_many_it_takes() -> None:
    """And that number is enough."""
    with pytest.raises(UsageError, match=r"--pilot 2 is too few: \d+ rows") as caught:
        chosen(product(3, 5, 2), 2)
    needed = int(caught.value.hint.split()[2])
    assert len(chosen(product(3, 5, 2), needed)) == needed


def test_the_order_of_the_manifest_does_not_matter() -> None:
    """Reordered rows are the same pilot, so that nothing is paid for twice."""
    drafts = product(3, 4, 3)
    keys = {row.key for row in chosen(drafts, 9)}
    assert {row.key for row in chosen(drafts[::-1], 9)} == keys
    assert len(keys) == 9


def test_a_larger_pilot_has_the_smaller_one_in_it() -> None:
    """Whoever wants to see more pays for the difference."""
    drafts = product(3, 4, 3)
    assert {row.key for row in chosen(drafts, 8)} < {row.key for row in chosen(drafts, 12)}


def test_fields_count_as_factors_and_words_do_not() -> None:
    """A table without any factor still shows each of its models and resolutions."""
    drafts = [
        Draft(f"m:{n}", Request(f"model-{n % 3}", f"p {n}", resolution="4K" if n == 71 else "1K"))
        for n in range(90)
    ]
    found = chosen(drafts, 4, ())
    assert {row.request.model for row in found} == {"model-0", "model-1", "model-2"}
    assert "4K" in {row.request.resolution for row in found}


def test_a_factor_that_only_some_rows_have_is_shown_too() -> None:
    """Blocks of one manifest may have different ones."""
    drafts = [*product(2, 2, 1), Draft("m:9", Request("m", "other"), variables=(("light", "neon"),))]
    found = chosen(drafts, 3, ("style", "mood", "light"))
    assert ("light", "neon") in {pair for row in found for pair in row.variables}


@pytest.mark.parametrize(
    ("rows", "of", "low", "high"),
    [(0, 20, 0.0, 0.1611), (1, 20, 0.0089, 0.2361), (10, 20, 0.2993, 0.7007), (20, 20, 0.8389, 1.0)],
)
def test_a_share_has_the_interval_of_wilson(rows: int, of: int, low: float, high: float) -> None:
    """Figures from the literature, to four places."""
    found = share(rows, of)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_settings_that_choose_are_shown_and_seeds_are_not() -> None:
    """A quality may fail or cost more; a hundred seeds would need a hundred rows."""
    drafts = [
        Draft(
            f"m:{n}",
            Request("m", "p", extra=(("q", q), ("seed", n)), priced_by=f'{{"q": "{q}"}}'),
            variables=(("q", q), ("seed", str(n))),
        )
        for n, q in enumerate(["low", "low", "low", "high"])
    ]
    assert {dict(row.variables)["q"] for row in chosen(drafts, 2, ())} == {"low", "high"}


def test_nothing_ended_says_nothing() -> None:
    """No division by the rows that there are not."""
    assert (share(0, 0).low, share(0, 0).high) == (0.0, 1.0)

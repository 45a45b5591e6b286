"""Ids are safe as file names, readable, and what a person wrote stays as it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobanana_batch.file_names import MAX_ID_BYTES, id_fault
from nanobanana_batch.manifest.words.ids import derive_id, fold_id, portable, slug, word
from nanobanana_batch.model import Draft, Request, row_key


def draft(prompt: str, variant: int = 1) -> Draft:
    return Draft("m.yaml:1", Request("m", prompt), variant=variant)


@pytest.mark.parametrize(
    "text",
    [
        "a/b",
        "a\\b",
        "a:b",
        "a\nb",
        "a\x7fb",
        "..",
        ".hidden",
        " a",
        "a ",
        "a.",
        "",
        "   ",
        "CON",
        "con.txt",
        "Lpt1",
        "COM¹",
        "x" * 121,
        "é" * 61,
        "a\u202eb",
        'a"b',
        "a?",
    ],
)
def test_ids_that_no_system_takes_are_refused(text: str) -> None:
    """Each would be another file, or none, on some system."""
    assert id_fault(text)
    assert not id_fault(portable(text))


@pytest.mark.parametrize("text", ["tokyo", "Tokyo 3", "東京", "a.b", "-x", "console", "x" * 120, "a_b-c"])
def test_ids_that_are_fine_stay(text: str) -> None:
    """Portable text is neither refused nor changed."""
    assert not id_fault(text)
    assert portable(text) == text


@given(st.text())
def test_portable_is_always_portable(text: str) -> None:
    """Whatever comes out of a template can be a file name."""
    assert not id_fault(portable(text))


def test_long_derived_ids_stay_different() -> None:
    """Cutting alone would make two rows one file."""
    first, second = portable("x" * 200 + "a"), portable("x" * 200 + "b")
    assert first != second
    assert len(first.encode()) <= MAX_ID_BYTES


def test_fold_ignores_case_and_form() -> None:
    """Two names that some file system takes for one are one."""
    assert fold_id("Cafe\u0301") == fold_id("CAFÉ")
    assert fold_id("Straße") == fold_id("STRASSE")
    assert fold_id("a") != fold_id("b")


def test_derived_id_reads_like_the_prompt() -> None:
    """What it shows, then ten digits of the row key."""
    one = draft("A Café, at Night!")
    key = row_key(one.request, 1)
    assert derive_id(one, key) == f"a-cafe-at-night-{key[3:13]}"
    assert derive_id(draft("a cat", 3), key) == f"a-cat-v3-{key[3:13]}"
    assert derive_id(draft("東京"), key).startswith("row-")


@given(st.text(min_size=1))
def test_derived_id_is_portable(prompt: str) -> None:
    """Any prompt gives a usable name."""
    assert not id_fault(derive_id(draft(prompt), "r1-" + "0123456789abcdef" * 4))


def test_slugs_are_short() -> None:
    """They are cut between words where that is possible."""
    assert (
        slug("one two three four five six seven eight nine ten") == "one-two-three-four-five-six-seven-eight"
    )
    assert len(slug("x" * 100)) == 40
    assert word("São Paulo / 東京") == "são-paulo-東京"
    assert word("16:9") == "16-9"

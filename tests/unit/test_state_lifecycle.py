"""Phases and what leads from one to another stand in one file; the writers, queries and pages derive from it.

`python -m tests.unit.test_state_lifecycle` prints the picture for docs/design.md.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import pytest

from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import (
    IMAGE_MOVES,
    MOVES,
    STATUS_OF_PHASE,
    ImagePhase,
    Move,
    Phase,
    RequestPhase,
)
from nanobanana_batch.state.writers import WRITERS

ROOT = Path(__file__).parents[2]
STILL = {
    facts.Intent: "makes a request and its first attempt",
    facts.Joined: "makes another attempt of it",
    facts.Rested: "moves nothing",
    facts.Moved: "moves nothing",
    facts.FileUploaded: "is about a file",
    facts.FileDeleted: "is about a file",
}
"""Facts that lead from no phase to another."""


def picture() -> str:
    """One line for each fact and phase that it leads to."""
    lines = [f"    {move.fact.__name__}: {_from(move)} -> {move.to}{_when(move)}" for move in MOVES]
    images = [
        f"    {fact.__name__}: {' | '.join(phase for phase in ImagePhase if phase in after)} -> {to}"
        for fact, (after, to) in IMAGE_MOVES.items()
    ]
    return "\n".join(["    Intent, Joined: -> intent", *lines, "", *images]) + "\n"


def _from(move: Move) -> str:
    return " | ".join(phase for phase in Phase if phase in move.after)


def _when(move: Move) -> str:
    return f" ({move.when})" if move.when else ""


def test_every_fact_moves_something_or_is_known_not_to() -> None:
    """A new one is not forgotten; and each has its writer."""
    moving = {move.fact for move in MOVES}
    assert moving | STILL.keys() == set(get_args(facts.Fact)) == WRITERS.keys()
    assert not moving & STILL.keys()


def test_every_phase_is_reached_and_has_a_status() -> None:
    """Of attempts and of images."""
    assert {move.to for move in MOVES} | {Phase.INTENT} == set(Phase) == STATUS_OF_PHASE.keys()
    assert {to for _, to in IMAGE_MOVES.values()} == set(ImagePhase)


def test_nothing_leads_out_of_a_verdict_or_an_image_to_a_second_payment() -> None:
    """Only a request of which nothing came, or that a person has sent anew, is about to be sent again."""
    again = {phase for move in MOVES if move.to is Phase.INTENT for phase in move.after}
    assert again == {Phase.NOT_SENT, Phase.UNKNOWN}


def test_the_page_shows_the_moves_as_they_are() -> None:
    """Generated, so that it cannot drift."""
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert picture() in page


WORDS = {phase.value for kind in (Phase, RequestPhase, ImagePhase) for phase in kind}
TWO_MEANINGS = {
    "failed",
    "refused",
    "expired",
    "rejected",
    "unknown",
    "running",
    "ready",
    "accepted",
    "saved",
}
"""Also words of a status, of a fault or of a command; in SQL they stand in quotes."""


@pytest.mark.parametrize(
    "path", sorted((ROOT / "nanobanana_batch" / "state").glob("*.py")), ids=lambda p: p.stem
)
def test_no_other_file_of_the_state_spells_a_phase(path: Path) -> None:
    """Neither in Python nor in SQL; the steps of the schema are history, and never change again."""
    if path.stem in ("lifecycle", "schema"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value not in WORDS - TWO_MEANINGS, node.lineno
            assert not [word for word in WORDS if f"'{word}'" in node.value], node.lineno


if __name__ == "__main__":
    print(picture())

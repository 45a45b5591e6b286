"""How far the pictures of a folder are judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.collection.judgements import Verdict, read_judgements
from nanobanana_batch.collection.preferences import read_choices
from nanobanana_batch.errors import UsageError
from nanobanana_batch.model import RowStatus
from nanobanana_batch.state.made import made
from nanobanana_batch.state.reader import Reader


@dataclass(frozen=True, slots=True)
class Rated:
    """Counts of pictures, and of pairs of them."""

    images: int = 0
    """Of completed rows, as the state knows them."""
    rated: int = 0
    """Of these, about which something was said."""
    accepted: int = 0
    rejected: int = 0
    pairs: int = 0
    problem: str = ""
    """Why they could not be counted."""


def rated(folder: Path, reader: Reader) -> Rated:
    """Those of a folder about whose pictures somebody has said something."""
    try:
        judgements, pairs = read_judgements(folder), len(read_choices(folder))
    except UsageError as error:
        return Rated(problem=str(error))
    verdicts = {None: 0, Verdict.ACCEPTED: 0, Verdict.REJECTED: 0}
    images = 0
    for row, how in made(reader):
        if row.status is not RowStatus.COMPLETED:
            continue
        for one in how.pictures:
            images += 1
            said = judgements.of(row.row_key, one.sha256, row.id, one.path, is_first=one.number == 1)
            if said:
                verdicts[said.verdict] += 1
    accepted, rejected = verdicts[Verdict.ACCEPTED], verdicts[Verdict.REJECTED]
    return Rated(images, sum(verdicts.values()), accepted, rejected, pairs)

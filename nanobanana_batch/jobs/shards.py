"""One manifest among several output folders: each row in one of them only, or it would be paid for in two."""

from __future__ import annotations

from pathlib import Path

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.folder import POINTER_NAME, STATE_NAME
from nanobanana_batch.files.payments import PAYMENTS_NAME
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.shards import SENT_KEYS, SHARD, Shard, outside, shard_of_folder

_PAID_ANEW = "each of them would pay for rows that another one has made; nothing was sent."


def refuse_another_part(path: Path, reader: Reader, shard: Shard | None) -> None:
    """A folder keeps the part of its manifest that it has paid for.

    A state that was made anew remembers no part: there the rows tell that it has.

    Raises:
        UsageError: something was sent for rows of another part than the one that is asked for.
    """
    known = reader.meta(SHARD)
    if known == (None if shard is None else str(shard)) or not reader.has_sent():
        return
    if known is None and shard is not None and reader.meta("manifest") is None:
        if not outside(shard, ((str(key), base) for key, base in reader.each(SENT_KEYS))):
            return
        has = "rows that are not in it"
    else:
        has = "all of its manifest" if known is None else f"shard {known}"
    asked = "a run without --shard" if shard is None else f"--shard {shard}"
    go_on = "without --shard" if known is None else f"with --shard {known}"
    raise UsageError(
        f"{path} was worked on for {has}, and {asked} is about other rows: {_PAID_ANEW}",
        hint=f"Go on {go_on}, or give another folder with --out: what is made there is paid for anew.",
    )


def refuse_another_division(path: Path, shard: Shard | None) -> None:
    """Folders beside each other that are called as shards are have the same manifest, divided in one way.

    Raises:
        UsageError: some of them were worked on as parts of another division than the one that is asked for.
    """
    home, own = (path, None) if shard is None else (path.parent, shard_of_folder(path.name))
    if shard is not None and own is None:
        _refuse_home(path, shard)
        return  # a person has chosen the folder: nothing is known of those beside it
    if shard is not None and _was_sent_for(home):
        raise UsageError(
            f"{home} was worked on without --shard, and {path} would be a part of the same: {_PAID_ANEW}",
            hint=f"Go on without --shard, or give another folder: --out {home}-sharded/{path.name}",
        )
    others = {found.of for found in _shards_in(home)} - {shard.of if shard else 0}
    if others:
        of = max(others)
        raise UsageError(
            f"{home} has folders of a manifest that was divided by {of}: {_PAID_ANEW}",
            hint=f"Go on with --shard I/{of} or --procs {of}. In another folder (--out) all is paid anew.",
        )


def _refuse_home(path: Path, shard: Shard) -> None:
    """A state would be missed there, although nothing is lost."""
    if not _was_sent_for(path) and _shards_in(path):
        raise UsageError(
            f"{path} holds the folders of shards, and is none itself; nothing was sent.",
            hint=f"Give the shard's own folder: --out {path / shard.folder_name}",
        )


def _shards_in(home: Path) -> list[Shard]:
    try:
        found = [(shard_of_folder(each.name), each) for each in home.iterdir()]
    except OSError:
        return []
    return [shard for shard, each in found if shard is not None and _was_sent_for(each)]


def _was_sent_for(path: Path) -> bool:
    """Whether a folder has a state, or tells of payments."""
    return any((path / name).exists() for name in (STATE_NAME, POINTER_NAME, PAYMENTS_NAME))

"""How several shards have ended, as the end of one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from nanobanana_batch import errors
from nanobanana_batch.errors import NanobananaError, RunStopped, UsageError
from nanobanana_batch.files.folder import find
from nanobanana_batch.jobs.merge import refuse_paid_twice, write_merged
from nanobanana_batch.jobs.outcome import Outcome
from nanobanana_batch.jobs.procs.together import together as as_one
from nanobanana_batch.ray_runner.values import Ended, Refused

_ON_THEIR_MACHINES = (
    " They are on the machines that made them: where one of these dies the same command fetches its images"
    " again, for 24 hours after they were made."
)


def together(
    home: Path,
    ended: Mapping[int, Ended],
    *,
    interrupted: bool,
    say: Callable[[str], None],
    brought_to: str | None = None,
) -> Outcome:
    """The end of all; results.csv of all of them where this machine sees their folders.

    Raises:
        NanobananaError: some shard has ended with an error; the others have gone on to their end.
    """
    refused = {number: each.refused for number, each in ended.items() if each.refused is not None}
    several = [each for _, each in sorted(ended.items())]
    if not _is_written(home, several):
        where = f" They are at {brought_to}." if brought_to else _ON_THEIR_MACHINES
        say(
            f"Not all folders of the shards are on this machine: {home / 'results.csv'} is not written."
            f"{where} Merge them where all of them are."
        )
    if refused:
        raise _as_one(refused, len(ended))
    outcomes = [each.outcome for each in several if each.outcome is not None]
    return replace(as_one(home, [each.folder for each in several], outcomes), interrupted=interrupted)


def _is_written(home: Path, several: list[Ended]) -> bool:
    """The table of all of them, where they are seen from here."""
    here = [find(each.folder) for each in several if each.folder.is_dir()]
    if len(here) < len(several) or not all(folder.state.is_file() for folder in here):
        return False
    refuse_paid_twice(here)
    write_merged(here, home)
    return True


def _as_one(refused: Mapping[int, Refused], of: int) -> NanobananaError:
    """What may have cost something comes first."""
    number, worst = min(refused.items(), key=lambda each: (_kind(each[1]) is UsageError, each[0]))
    if len(refused) == of > 1 and {each.message for each in refused.values()} == {worst.message}:
        return _kind(worst)(worst.message, hint=worst.hint)
    also = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return _kind(worst)(f"shard {number}{also}: {worst.message}", hint=worst.hint)


def _kind(refused: Refused) -> type[NanobananaError]:
    """One with the same exit code that takes a sentence."""
    kind = getattr(errors, refused.kind, RunStopped)
    if issubclass(kind, UsageError):
        return UsageError
    return errors.FolderInUse if issubclass(kind, errors.FolderInUse) else RunStopped

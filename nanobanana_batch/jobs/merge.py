"""Several output folders told as one: one results.csv, and whether a row was paid for in two of them."""

from __future__ import annotations

import heapq
import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk, remove_left, write_atomically
from nanobanana_batch.files.folder import POINTER_NAME, RESULTS_NAME, STATE_NAME, Folder, find, make
from nanobanana_batch.files.standing import Look
from nanobanana_batch.jobs.audit import Audit, make_audit
from nanobanana_batch.jobs.outlook import priced_standing
from nanobanana_batch.results import BEFORE_VARIABLES, Standing, cells_of, column_names, stands, written
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.shards import SHARD, Shard, read_shard
from nanobanana_batch.wording import amount, counted

if TYPE_CHECKING:
    from nanobanana_batch.jobs.connection import Connection

_FOLDER = "folder"
_ROWS_AT_ONCE = 1000
_SHOWN = 5


class _Paid(NamedTuple):
    """A row that was paid for; ordered by its key."""

    key: str
    place: int
    """Of its folder among all."""
    id: str
    credits: float
    requests: frozenset[str]


@dataclass(frozen=True, slots=True)
class Merged:
    """Output folders as one."""

    results: Path
    """The results of all of them, in manifest order where they are parts of one manifest."""
    standings: tuple[Standing, ...]
    audits: tuple[Audit, ...]
    missing: tuple[str, ...] = ()
    """Shards of the same division that are not among them, as `2/4`: their rows are in no number here."""
    at_odds: tuple[str, ...] = ()
    """Manifests whose shards know different versions of it: rows are missing here, or there twice."""
    divided: tuple[str, ...] = ()
    """Manifests of which shards of several divisions are here: rows may be there twice, or missing."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(standing.rows for standing in self.standings)

    @property
    def completed(self) -> int:
        """How many of them have an image."""
        return sum(standing.counts.get("completed", 0) for standing in self.standings)

    @property
    def credits_used(self) -> float:
        """By all folders."""
        return sum(standing.credits_used for standing in self.standings)

    @property
    def untold(self) -> int:
        """Requests in all of them that are paid for, of which the provider has not said what they cost."""
        return sum(standing.untold for standing in self.standings)

    @property
    def credits_reserved(self) -> float:
        """For what is paid for and not there yet."""
        return sum(standing.credits_reserved for standing in self.standings)

    @property
    def exit_code(self) -> int:
        """0 only where every row completed, all shards of one division are here, and all is explained."""
        is_whole = self.completed == self.rows and not (self.missing or self.at_odds or self.divided)
        return 0 if is_whole and not any(audit.findings for audit in self.audits) else 1


def merge(paths: Sequence[Path], out: Path | None, now: Connection) -> Merged:
    """Write the results of several folders into one table, and say how all of them stand. `now`: a provider.

    `out`: a folder for the table; the one that all of them stand in, if it is not given.

    Raises:
        UsageError: one is no output folder, is there twice or a copy of another one, a row was paid for in
            two, or the table has no place.
        StateFailed: the state of one is gone or damaged.
        DiskFailed: the table, or the folder for it, cannot be written.
    """
    _refuse_named_twice(paths)
    folders = [find(path) for path in paths]
    refuse_paid_twice(folders)
    left_out = _left_out(folders)
    results = write_merged(folders, _home(folders, out))
    return Merged(
        results,
        tuple(priced_standing(folder, now) for folder in folders),
        tuple(make_audit(folder, now) for folder in folders),
        *left_out,
    )


def refuse_paid_twice(folders: Sequence[Folder]) -> None:
    """The same row in two folders was paid for in both: that is money, and not two rows.

    Two that tell of the same payments are a folder and its copy. Memory does not grow with the rows.

    Raises:
        UsageError: there are such rows; they are told, with what they have cost.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(open_reader(one.state, one.told())) for one in folders]
        paid = heapq.merge(*(_paid(reader, number) for number, reader in enumerate(readers)))
        twice, total, shown = 0, 0.0, list[str]()
        copies: tuple[_Paid, ...] = ()
        for _, found in itertools.groupby(paid, key=lambda each: each.key):
            same = tuple(found)
            if len(same) < 2:
                continue
            if frozenset.intersection(*(each.requests for each in same)):
                copies = copies or same
                continue
            twice += 1
            total += sum(each.credits for each in same[1:])
            if len(shown) < _SHOWN:
                places = (f"{folders[each.place].path} ({amount(each.credits)})" for each in same)
                shown.append(f"{same[0].id} in {' and '.join(places)}")
    if twice:
        raise UsageError(
            f"{counted(twice, 'row')} {'was' if twice == 1 else 'were'} paid for in more than one of these"
            f" folders, which has cost {amount(total)} credits too many: {'; '.join(shown)}"
            f"{'; …' * (twice > len(shown))}. Nothing was written.",
            hint="They are not parts of one division of a manifest. Merge those that are.",
        )
    if copies:
        names = " and ".join(str(folders[each.place].path) for each in copies)
        raise UsageError(
            f"{names} tell of the same payments, as a folder and its copy do. That was paid for once."
            " Nothing was written.",
            hint="Give one of them: the one that was worked on last.",
        )


def write_merged(folders: Sequence[Folder], home: Path) -> Path:
    """Write results.csv of several folders, whose images it names as they are called from there.

    Raises:
        UsageError: it has no place there, or a person's file has that name.
        StateFailed, DiskFailed: as `write_results`.
    """
    refuse_anothers_table(home)
    path = home / RESULTS_NAME
    if path.is_dir() or not home.is_dir():
        raise UsageError(f"{path} cannot be written: there is no place for it.")
    if (home / STATE_NAME).exists() or (home / POINTER_NAME).exists():
        raise UsageError(
            f"{home} is an output folder itself, and has a {RESULTS_NAME} of its own.",
            hint="Give another one with --out.",
        )
    remove_left(home, {RESULTS_NAME})
    with ExitStack() as stack:
        readers = [stack.enter_context(open_reader(one.state, one.told())) for one in folders]
        write_atomically(Disk(), path, _pieces(folders, readers, home))
    return path


def refuse_anothers_table(home: Path) -> None:
    """What is called results.csv there and was not written by this program is not replaced.

    Raises:
        UsageError: there is such a file.
    """
    ours = written([BEFORE_VARIABLES]).rstrip()
    with suppress(OSError), (home / RESULTS_NAME).open("rb") as file:
        if (begin := file.read(len(ours))) and begin != ours:
            raise UsageError(
                f"{home / RESULTS_NAME} is not a table of this program, and is not written over.",
                hint="Move it, or give another folder with --out.",
            )


def _left_out(folders: Sequence[Folder]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Shards that are not here, manifests of which these know different versions, and divided in two ways.

    Folders that know of no shard miss none. Where a manifest was divided in two ways no shard is called
    missing: its rows may be here, and who made it would pay for them again.
    """
    with ExitStack() as stack:
        here: dict[str, dict[Reader, Shard]] = {}
        for folder in folders:
            reader = stack.enter_context(open_reader(folder.state, folder.told()))
            if text := reader.meta(SHARD):
                here.setdefault(reader.meta("manifest") or "", {})[reader] = read_shard(text)
        missing, at_odds, divided = list[str](), list[str](), list[str]()
        for name, parts in here.items():
            if len({shard.of for shard in parts.values()}) > 1:
                divided.append(name)
                continue
            absent = _absent(list(parts.values()))
            missing += map(str, absent)
            if not _fit(list(parts), is_all=not absent):
                at_odds.append(name)
        return tuple(missing), tuple(at_odds), tuple(divided)


def _absent(here: Sequence[Shard]) -> list[Shard]:
    """Of one division."""
    every = [Shard(number, here[0].of) for number in range(1, here[0].of + 1)]
    return [shard for shard in every if shard not in here]


def _fit(parts: Sequence[Reader], *, is_all: bool) -> bool:
    """Whether each place in the manifest is in one of these at most; of all of them, in exactly one."""
    last = -1
    for place in heapq.merge(*(reader.positions_in_order() for reader in parts)):
        if place == last or (is_all and place != last + 1):
            return False
        last = place
    return True


def _refuse_named_twice(paths: Sequence[Path]) -> None:
    known: dict[Path, Path] = {}
    for path in paths:
        if (other := known.setdefault(path.resolve(), path)) is not path:
            raise UsageError(f"{other} and {path} are the same folder; nothing was written.")


def _paid(reader: Reader, number: int) -> Iterator[_Paid]:
    for key, id_, credits, requests in reader.paid_keys():
        yield _Paid(key, number, id_, credits, requests)


def _home(folders: Sequence[Folder], out: Path | None) -> Path:
    if out is not None:
        make(out, Disk())
        return out
    homes = {folder.path.resolve().parent for folder in folders}
    if len(homes) != 1:
        raise UsageError("These folders do not stand in one folder: say with --out where the table belongs.")
    return folders[0].path.parent


def _pieces(folders: Sequence[Folder], readers: Sequence[Reader], home: Path) -> Iterator[bytes]:
    variables = list(dict.fromkeys(name for reader in readers for name in reader.variables()))
    rows = [
        _rows(number, folder, reader, variables, home)
        for number, (folder, reader) in enumerate(zip(folders, readers, strict=True))
    ]
    are_parts = len({reader.meta("manifest") for reader in readers}) == 1 and all(
        reader.meta(SHARD) for reader in readers
    )
    together = heapq.merge(*rows, key=lambda row: row[:2]) if are_parts else itertools.chain(*rows)
    names = column_names(variables, (_FOLDER,))
    lines: Iterator[Sequence[object]] = itertools.chain([names], (cells for *_, cells in together))
    while piece := list(itertools.islice(lines, _ROWS_AT_ONCE)):
        yield written(piece)


def _rows(
    number: int, folder: Folder, reader: Reader, variables: list[str], home: Path
) -> Iterator[tuple[int, int, list[object]]]:
    """Each row's place in the manifest, the number of its folder, and its cells."""
    look = Look(folder.path)
    look.kept = reader.kept_images()
    names = column_names(variables)
    way = os.path.relpath(folder.path, home)
    image, others = names.index("image"), names.index("other_images")
    for position, row in zip(reader.positions_in_order(), reader.rows(), strict=True):
        cells = cells_of(row, variables, stands(row, look))
        cells[image] = None if cells[image] is None else f"{way}/{cells[image]}"
        if cells[others]:
            cells[others] = "|".join(f"{way}/{path}" for path in str(cells[others]).split("|"))
        yield position, number, [*cells, way]

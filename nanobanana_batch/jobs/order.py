"""What a person orders: a manifest, a provider and a place; everything is checked before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.errors import TooManyRows, UsageError
from nanobanana_batch.files.folder import Folder, choose
from nanobanana_batch.files.proof import refuse_unspeakable
from nanobanana_batch.jobs.connection import Connection
from nanobanana_batch.jobs.session import CallbackRoute
from nanobanana_batch.manifest import Beside, Manifest, derive_id, fold_id, open_manifest
from nanobanana_batch.model import Draft, PlainDrafts
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.provider_names import is_practice
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.shards import Shard

if TYPE_CHECKING:
    from nanobanana_batch.providers.profile import Profile

MAX_ROWS = 5_000_000
"""A longer manifest is meant to be sampled: to check each row and to keep its state would take hours."""
OUTPUTS = Path("outputs")
_OR_LOCAL = "or try --provider local, which needs none and costs nothing"


@dataclass(frozen=True, slots=True)
class Order:
    """What a person asks to be made."""

    manifest: Path
    out: Path | None = None
    connection: Connection = field(default_factory=Connection)
    defaults: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our names with those of a table's columns."""
    id: str = ""
    """Template of a table's ids."""
    skip: tuple[str, ...] = ()
    """For which reasons rows are left out and counted."""
    variables: tuple[str, ...] = ()
    allow_unknown_model: bool = False
    state_dir: Path | None = None
    risk_network_filesystem: bool = False
    callback_route: CallbackRoute | None = None
    """Where callbacks go."""
    format: str | None = None
    """Which kind of manifest it is, if not the one that its name or its beginning says."""
    spool: Path | None = None
    """Where its content is if it came from standard input, or from no file at all."""
    called: str = ""
    """The name of one that came from no file."""
    allow_outside: tuple[Path, ...] = ()
    """Folders beside the manifest's and the working directory that it may read from."""
    as_copy: bool = False
    """The person knows that the output folder was worked on in another place, too."""
    journal: str | None = None
    """Where what is paid is told beside the folder; None: where the folder remembers, if it does."""
    shard: Shard | None = None
    """Which part of the manifest is to be made; None: all of it."""


def open_ordered(order: Order) -> Manifest:
    """The manifest of an order, its form checked; rows are not read yet.

    Raises:
        ManifestError: its form has problems; all of them are listed, and those of its first rows.
        ProfileError: there is no such provider.
        UsageError: a default given with it has none of the names that exist.
    """
    from nanobanana_batch.providers.profile import catalog_for, load_profile

    profile = load_profile(order.connection.provider)
    return open_manifest(
        order.manifest,
        catalog=catalog_for(profile),
        dialect=profile.dialect,
        beside=Beside(
            defaults=order.defaults,
            columns=order.columns,
            id_template=order.id,
            skip=order.skip,
            variables=order.variables,
            allow_unknown_model=order.allow_unknown_model,
            kind=order.format,
            spool=order.spool,
            called=order.called,
            allow_outside=order.allow_outside,
        ),
        no_local_images=_no_local_images(profile),
        take=_take_together,
    )


def _take_together(drafts: Iterator[Draft], problems: ProblemLog) -> None:
    """Find what is wrong with rows only beside each other: ids that are taken."""
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(drafts, problems)


def _no_local_images(profile: Profile) -> str:
    """Why a manifest for this provider may not name local reference images; empty when it may."""
    if profile.files_url is not None:
        return ""
    return f"the provider {profile.name} takes no files; give a public http or https URL"


@contextmanager
def expanded(
    manifest: Manifest, at_each: Callable[[], None] = lambda: None, *, apart: bool = False
) -> Iterator[Roster]:
    """All rows of a manifest, read and checked; `at_each` few of them may raise, to end that.

    `apart`: nobody else of this order is at work beside this process, so a second one may read.

    Raises:
        TooManyRows: a run does not take so many; none was read.
        ManifestError: rows have problems; all of them are listed.
        UsageError: it has no rows.
        BadSurroundings: the process that reads them was ended.
    """
    rows = 0 if manifest.has_at_most(MAX_ROWS) else manifest.count()
    if rows > MAX_ROWS:
        raise TooManyRows(
            f"{manifest.path} has {rows:,} rows; a run takes at most {MAX_ROWS:,}, so nothing was sent.",
            rows,
            hint="Draw some of them with `sample: {n: 1000}`, or take some out with `exclude`.",
        )
    problems = manifest.problem_log()
    with Roster(derive_id, fold_id) as roster:
        with closing(manifest.light_drafts(problems, apart=apart)) as drafts:
            roster.add_all(_each(drafts, at_each), problems)
        problems.raise_if_any()
        if not len(roster):
            hint = "`where` and `exclude` leave none of those that there are." if manifest.is_narrowed else ""
            hint = "\n".join([hint, *manifest.warnings])
            raise UsageError(f"{manifest.path} has no rows; there is nothing to make.", hint=hint)
        yield roster


def _each(drafts: Iterator[Draft | PlainDrafts], call: Callable[[], None]) -> Iterator[Draft | PlainDrafts]:
    for draft in drafts:
        call()
        yield draft


def folder_of(order: Order, manifest: Manifest) -> Folder:
    """The output folder of an order; nothing is created.

    Raises:
        UsageError: it has no name, or its state would stand where it is not safe.
        BadSurroundings: in this locale no folder can have its name.
    """
    if order.out is None and not manifest.is_named:
        raise UsageError(
            f"The manifest from {manifest.path} names no output folder.",
            hint="Add `name: ...` to it, or give --out.",
        )
    path = order.out or OUTPUTS / manifest.name
    if order.out is None and order.shard is not None:
        path /= order.shard.folder_name
    refuse_unspeakable([str(path)])
    return choose(path, order.state_dir, risk_network=order.risk_network_filesystem)


def refuse_mixing(folder: Path, providers: Iterable[str], provider: str) -> None:
    """Placeholders and real images in one folder could not be told apart.

    Raises:
        UsageError: one of these has made images of the other kind in the folder.
    """
    others = [name for name in providers if is_practice(name) != is_practice(provider)]
    if others:
        way = _way_to(others[0])
        if is_practice(others[0]):
            there, hint = "placeholders", f"for real images: --out {folder}-real, or delete the folder."
        else:
            there, hint = "real images", f"for placeholders: --out {folder}-local."
        raise UsageError(
            f"{folder} holds {there} ({way}), and {provider} would mix them; nothing was sent.",
            hint=f"Go on with them: {way}; {hint}",
        )


def _way_to(name: str) -> str:
    """The option that leads to the provider of this name (`CheckedConnection.name`)."""
    profile, _, host = name.partition("@")
    return f"--provider {profile}" + (f" at {host}" if host else "")


def refuse_parents(manifest: Manifest, folder: Folder, provider: str) -> None:
    """Rows may come from other folders than the run's own, and no placeholder is edited for money.

    Raises:
        UsageError: one of them is the run's own folder, or would send placeholders to a real provider.
    """

    for parent in manifest.parents:
        if _is_same(parent.folder.state, folder.state):
            raise UsageError(
                f"{parent.place}: from: {parent.name} is the folder that this run writes to;"
                " nothing was sent.",
                hint="Give another `name`, or another folder with --out.",
            )
        with open_reader(parent.folder.state) as reader:
            placeholders = [name for name in reader.providers() if is_practice(name)]
        if placeholders and not is_practice(provider):
            raise UsageError(
                f"{parent.place}: from: {parent.name} holds placeholders of a service on this machine"
                f" ({placeholders[0]}), and {provider} would be paid for edits of them; nothing was sent.",
                hint="Make that run with a real provider first, or try this one with --provider local.",
            )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return False

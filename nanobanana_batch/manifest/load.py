"""Opening finds everything that is wrong with a manifest's form at once; reading it is lazy."""

from __future__ import annotations

import functools
import itertools
import json
import shlex
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from nanobanana_batch.catalog import Catalog
from nanobanana_batch.errors import Problem, UsageError
from nanobanana_batch.file_names import id_fault
from nanobanana_batch.manifest.combine.grid import Grid
from nanobanana_batch.manifest.form.block import Block, Given, Picked
from nanobanana_batch.manifest.form.blocks import BlockReader
from nanobanana_batch.manifest.form.forms import Form
from nanobanana_batch.manifest.form.parent_source import Parent, ParentRows
from nanobanana_batch.manifest.form.skips import skips_of
from nanobanana_batch.manifest.form.table_source import TableRows, whole_table
from nanobanana_batch.manifest.read.delimited import TextTable
from nanobanana_batch.manifest.read.nodes import Map, Scalar, find_paths, place
from nanobanana_batch.manifest.read.origin import PICTURES, PROMPTS, Origin, open_table, origin_of
from nanobanana_batch.manifest.read.reach import Reach
from nanobanana_batch.manifest.read.unpack import bare_name
from nanobanana_batch.manifest.read.yaml_file import read_nodes
from nanobanana_batch.manifest.refusal import TakeAll, read_all, whole_refusal
from nanobanana_batch.manifest.rows.expand import Expander
from nanobanana_batch.manifest.rows.local_images import LocalImages
from nanobanana_batch.manifest.rows.remarks import Remarks, Skipped, SkippedRow
from nanobanana_batch.manifest.rows.settle import Settler
from nanobanana_batch.manifest.words.names import ROW_NAMES, as_name, field_elsewhere, offers_prompts
from nanobanana_batch.manifest.words.template import as_text, names_in
from nanobanana_batch.model import Draft, PlainDrafts
from nanobanana_batch.problems import FindPaths, ProblemLog
from nanobanana_batch.wording import closest, did_you_mean, shown

_COLUMNS_TOLD = 10
_IDLE_TOLD = 50
_OFFERED = 3


class Manifest:
    """A manifest whose form is sound; its rows are read by `drafts`, as often as needed."""

    def __init__(
        self,
        name: str,
        path: Path,
        variables: tuple[str, ...],
        blocks: Sequence[Block],
        settler: Settler,
        paths: FindPaths | None,
        reach: Reach,
    ) -> None:
        self.name = name or path.stem
        self.is_named = bool(name)
        """Whether a person has named it, so that an output folder can be called like it."""
        self.path = path
        self.variables = variables
        """All names that some row may carry to the results, in the order of their first appearance."""
        self._grids = tuple(map(Grid, blocks))
        self._settler = settler
        self._paths = paths
        self._reach = reach
        self._remarks = Remarks()

    def problem_log(self) -> ProblemLog:
        """A log for the problems of its rows."""
        return ProblemLog(self.path.name, self._paths)

    @property
    def warnings(self) -> list[str]:
        """What is worth saying but keeps nothing from being sent; complete once the rows were read."""
        used = {place for grid in self._grids for place in grid.used}
        # Each may come with a suggestion, which takes its time to find.
        idle = (said for grid in self._grids for place, said in grid.idle() if place not in used)
        told = list(itertools.islice(idle, _IDLE_TOLD))
        more = ["and more entries that change nothing"] if next(idle, None) else []
        return list(dict.fromkeys([*self._settler.warnings, *self._remarks.notes(), *told, *more]))

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The rows that `skip` has left out; complete once the rows were read."""
        return self._remarks.skipped

    def skipped_rows(self) -> Iterator[SkippedRow]:
        """Each of them, by another reading."""
        latest: list[SkippedRow] = []
        expander = Expander(self._settler, self.variables, ProblemLog(), Remarks(latest))
        for _ in itertools.chain.from_iterable(map(expander.drafts, self._grids)):
            yield from latest
            latest.clear()

    @property
    def reads(self) -> tuple[str, ...]:
        """The tables, lists and runs that it draws in, as it names them."""
        return self._reach.read

    @property
    def parents(self) -> tuple[Parent, ...]:
        """The output folders that rows come from."""
        sources = (grid.block.source for grid in self._grids)
        return tuple(source.parent for source in sources if isinstance(source, ParentRows))

    @property
    def picked(self) -> tuple[Picked, ...]:
        """Where `from` and `sample` take a part of what there is; complete once the rows were read."""
        found: list[Picked] = []
        for grid in self._grids:
            source = grid.block.source
            found += source.picked if isinstance(source, ParentRows) else ()
            found += grid.sampled()
        return tuple(found)

    @property
    def is_narrowed(self) -> bool:
        """Whether it says which rows it does not want."""
        blocks = [grid.block for grid in self._grids]
        return any(
            block.exclude or (isinstance(block.source, TableRows) and block.source.where) for block in blocks
        )

    @property
    def factor_names(self) -> tuple[str, ...]:
        """The names in `matrix` and `zip` of all blocks."""
        factors = [factor for grid in self._grids for factor in grid.block.factors]
        return tuple(dict.fromkeys(name for factor in factors for name in factor.names))

    def drafts(
        self, problems: ProblemLog, limit: int | None = None, *, keeps_named: bool = False
    ) -> Iterator[Draft]:
        """The rows in order, one at a time; bad ones are reported to `problems` and left out.

        With a limit only so many are looked at, good or bad: a product may have no good one for ever.
        `keeps_named`: bad ones with an id are there, too, so that all ids can be compared.
        """
        self._remarks = Remarks()
        expander = Expander(self._settler, self.variables, problems, self._remarks, keeps_named=keeps_named)
        drafts = itertools.chain.from_iterable(map(expander.drafts, self._grids))
        return filter(None, itertools.islice(drafts, limit))

    def light_drafts(self, problems: ProblemLog, *, apart: bool = False) -> Generator[Draft | PlainDrafts]:
        """As `drafts` with all that are named, for who reads very many: most of them as `PlainDrafts`.

        `apart`: another process may read them meanwhile, where that pays; closing ends it.

        Raises:
            BadSurroundings: that process was ended.
        """
        self._remarks = Remarks()
        expander = Expander(self._settler, self.variables, problems, self._remarks, keeps_named=True)
        for grid in self._grids:
            with closing(expander.light_drafts(grid, apart=apart)) as drafts:
                yield from filter(None, drafts)

    def count(self) -> int:
        """How many rows there are, exactly; sources are read through, products are not enumerated."""
        return sum(grid.count() for grid in self._grids)

    def has_at_most(self, rows: int) -> bool:
        """Whether it is certain, without counting them, that there are no more rows than this."""
        known = [grid.most() for grid in self._grids]
        return None not in known and sum(filter(None, known)) <= rows

    def tally(self, names: tuple[str, ...]) -> Counter[tuple[str, ...]]:
        """How many rows have which texts under these names, "" for none; products are not enumerated."""
        return sum((grid.tally(names) for grid in self._grids), Counter())


@dataclass(frozen=True, slots=True)
class Beside:
    """What a person says beside a manifest, on the command line."""

    defaults: Mapping[str, str] | None = None
    """Values for rows that say nothing themselves."""
    columns: Mapping[str, str] | None = None
    """Of a table: which column is which of our names."""
    id_template: str = ""
    """Of a table: how rows are named."""
    skip: Iterable[str] = ()
    """For which reasons rows are left out and counted, as `--skip` calls them."""
    variables: Sequence[str] = ()
    """Names of columns that are no fields."""
    allow_unknown_model: bool = False
    kind: str | None = None
    """Which kind of file it is, if not the one that its name or its beginning says."""
    spool: Path | None = None
    """Where its content is if it was read from standard input, or comes from no file at all."""
    called: str = ""
    """The name of one that comes from no file."""
    allow_outside: Sequence[Path] = ()
    """Folders beside its own and the working directory that it may read from."""


NOTHING_BESIDE = Beside()


def open_manifest(
    path: Path,
    *,
    catalog: Catalog,
    dialect: str,
    beside: Beside = NOTHING_BESIDE,
    no_local_images: str = "",
    take: TakeAll = read_all,
) -> Manifest:
    """The manifest at this path, its form sound.

    `take` checks what only shows when all rows are together. `no_local_images` says why reference images
    cannot be local files.

    Raises:
        ManifestError: everything that is wrong with its form and with its rows.
        UsageError: the catalogue does not know the dialect.
    """
    if dialect not in catalog.dialects:
        known = ", ".join(catalog.dialects)
        raise UsageError(f"The catalogue knows no dialect {shown(dialect)}.", hint=f"It has: {known}.")
    variables, extras = tuple(map(as_name, beside.variables)), catalog.extra_names(dialect)
    _check_declared(variables)
    origin = origin_of(path, beside.kind, beside.spool, beside.called)
    path = origin.label
    log = ProblemLog(path.name)
    reach = Reach(path.parent, beside.allow_outside)
    form = Form(path, log, variables, extras, reach)
    name, names, blocks = _read(origin, form, beside)
    given = _command_line_defaults(beside.defaults or {}, names, extras, bool(log))
    names = (*names, *(each for each in given if each in extras and each not in names))
    left_out = skips_of(beside.skip)
    blocks = [replace(b, defaults={**given, **b.defaults}, skip=b.skip | left_out) for b in blocks]
    for block in blocks:
        if not block.templated:
            _refuse_templates(block, given, path.name, log)
        _require(block, path.name, log, tuple(rules.name for rules in catalog.models(dialect)))
    local_images = LocalImages(path.parent, no_local_images, reach)
    words = form.declared | form.templated
    settler = Settler(
        catalog, dialect, local_images, allow_unknown_model=beside.allow_unknown_model, words=words
    )
    settler.warnings.extend(form.warnings)
    manifest = Manifest(name, path, names, blocks, settler, log.paths, reach)
    if log:
        raise whole_refusal(log, functools.partial(manifest.drafts, keeps_named=True), take)
    return manifest


def _read(origin: Origin, form: Form, beside: Beside) -> tuple[str, tuple[str, ...], list[Block]]:
    """The manifest's name, the names of its variables, and its blocks; of a table there is one."""
    if origin.kind == "yaml":
        _refuse_for_yaml(columns=beside.columns, id=beside.id_template)
        return _open_yaml(origin, form)
    name = _default_name(origin, form.log)
    table = open_table(origin.path, origin.label.name, origin.kind, form.reach)
    return name, *whole_table(form, table, beside.columns or {}, beside.id_template)


def _open_yaml(origin: Origin, form: Form) -> tuple[str, tuple[str, ...], list[Block]]:
    path, log = origin.label, form.log
    root, problems = read_nodes(origin.path, path.name, form.warnings)
    log.extend(problems)
    if root is None:
        return "", (), []
    log.paths = functools.partial(find_paths, root, path.name)
    name = _yaml_name(root, origin, log)
    blocks = BlockReader(root, form).blocks()
    return name, form.variables, blocks


def _yaml_name(root: Map, origin: Origin, log: ProblemLog) -> str:
    node = root.get("name")
    if node is None or (isinstance(node, Scalar) and node.text is None):
        return _default_name(origin, log)
    at = place(origin.label.name, node.pos)
    if isinstance(node, Scalar) and node.text is not None:
        return _name(node.text, at, log)
    log.add(Problem(at, "expected a text", "name"))
    return ""


def _default_name(origin: Origin, log: ProblemLog) -> str:
    """The file's stem, the folder's name, or that of what comes from no file; empty for standard input."""
    name = origin.label.name
    is_whole = origin.kind in (PROMPTS, PICTURES) or origin.label != origin.path
    stem = name if is_whole else Path(bare_name(name)).stem
    return _name(stem, name, log) if origin.names_output else ""


def _name(text: str, source: str, log: ProblemLog) -> str:
    fault = id_fault(text)
    if fault:
        log.add(Problem(source, f"{shown(text)} cannot name an output folder: {fault}", "name"))
    return text


def _refuse_for_yaml(**given: object) -> None:
    for name, value in given.items():
        if value:
            raise UsageError(f"--{name} is for tables; in a YAML manifest it is the key `{name}:`.")


def _check_declared(variables: Sequence[str]) -> None:
    for name in variables:
        if name in ROW_NAMES:
            raise UsageError(f"--variables {name}: {name} is a field and cannot be a variable.")


def _command_line_defaults(
    defaults: Mapping[str, str], variables: tuple[str, ...], extras: Collection[str], damaged: bool
) -> dict[str, Given]:
    known = (*(name for name in ROW_NAMES if name != "id"), *variables, *sorted(extras))
    named = {as_name(name): value for name, value in defaults.items()}
    if len(named) < len(defaults):
        raise UsageError("--defaults: two of the names are one name, written in two ways; keep one.")
    for name in named:
        # When the file has problems, its variables are not all known, and its problems say more.
        if name not in known and not damaged:
            near = closest(name, known) or field_elsewhere(name)
            hint = did_you_mean(near) or f"Known: {', '.join(known)}."
            raise UsageError(f"--defaults {shown(name)}: no such field or variable.", hint=hint)
    return {name: Given(value, "--defaults") for name, value in named.items() if value}


def _refuse_templates(block: Block, given: Mapping[str, Given], file: str, log: ProblemLog) -> None:
    """Every row would be paid for with the name of a column in braces, and not with what stands there."""
    for field in ("prompt", "images"):
        text = as_text(given[field].value) if field in given else ""
        columns = {name.casefold() for name in block.row_names}
        slot = next((name for name in names_in(text) if name.casefold() in columns), None)
        if slot is not None:
            example = f"`table: {file}` with `{field}: {json.dumps(text, ensure_ascii=False)}`"
            message = (
                f"'{{{slot}}}' would be sent as it stands; a template over a table's columns needs a YAML"
            )
            log.add(Problem("--defaults", f"{message} manifest: {example}", field))


def _require(block: Block, file: str, log: ProblemLog, models: tuple[str, ...]) -> None:
    """What no row can have is said once, not once for every row."""
    for name, allowed in (("model", models), ("prompt", ())):
        if not _may_have(block, name):
            message = f"no row can have a {name}; {_remedy(block, name, file)}"
            log.add(Problem(file, message, name, allowed, rests_on=name))


def _remedy(block: Block, name: str, file: str) -> str:
    if name == "prompt" and isinstance(block.source, TableRows):
        return _prompt_of_table(block, block.source, file)
    where = f"add `{name}` under `defaults`" if block.templated else f"add a column `{name}`"
    return f"{where}, or give `--defaults {name}=...`"


def _prompt_of_table(block: Block, source: TableRows, file: str) -> str:
    """How to say which column holds the prompts."""
    columns = [column for column in source.offered if column not in ROW_NAMES]
    likely = [column for column in columns if offers_prompts(column)]
    template = f'a template (`prompt: "{{{(likely or columns or ["NAME"])[0]}}}, ..."`)'
    if block.templated:
        mapped = (likely or ["YOURS"])[0]
        return f"map a column (`columns: {{prompt: {mapped}}}`) or write {template}"
    told = _columns_told(source)
    offered = " or ".join(f"`--columns prompt={shlex.quote(c)}`" for c in (likely or ["YOURS"])[:_OFFERED])
    yaml = f"in a YAML manifest with `table: {file}` write {template}"
    return f"{told}say which holds the prompts by {offered}, or {yaml}"


def _columns_told(source: TableRows) -> str:
    """What the first line was taken for: perhaps it is a row."""
    if not isinstance(source.table, TextTable):
        return ""
    shown_names = ", ".join(map(shown, source.header[:_COLUMNS_TOLD]))
    more = ", …" if len(source.header) > _COLUMNS_TOLD else ""
    lines = ""
    if len(source.header) == 1 and " " in source.header[0]:
        lines = "; where each line is a prompt, `--format txt` reads it so"
    return f"the first line names the columns, and here they are {shown_names}{more}{lines}; "


def _may_have(block: Block, name: str) -> bool:
    return (
        name in block.defaults
        or name in block.row_names
        or any(name in factor.names for factor in block.factors)
    )

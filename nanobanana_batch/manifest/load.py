"""Opening finds everything that is wrong with a manifest's form at once; reading it is lazy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nanobanana_batch.catalog import Catalog, closest, shown
from nanobanana_batch.errors import ManifestError, Problem, ProblemLog, UsageError
from nanobanana_batch.manifest.block import Block, Given, TableRows
from nanobanana_batch.manifest.blocks import BlockReader
from nanobanana_batch.manifest.expand import Expander
from nanobanana_batch.manifest.forms import Form
from nanobanana_batch.manifest.ids import ALLOWED, id_fault
from nanobanana_batch.manifest.local_images import LocalImages
from nanobanana_batch.manifest.names import ROW_NAMES
from nanobanana_batch.manifest.nodes import Map, Scalar, place, read_nodes
from nanobanana_batch.manifest.settle import Settler
from nanobanana_batch.manifest.sources import table_columns
from nanobanana_batch.manifest.tables import ENDINGS, Table
from nanobanana_batch.model import Draft

YAML_ENDINGS = (".yaml", ".yml")


class Manifest:
    """A manifest whose form is sound; its rows are read by `drafts`, as often as needed."""

    def __init__(
        self, name: str, path: Path, variables: tuple[str, ...], blocks: Sequence[Block], settler: Settler
    ) -> None:
        self.name = name
        self.path = path
        self.variables = variables
        """All names that some row may carry to the results, in the order of their first appearance."""
        self._blocks = tuple(blocks)
        self._settler = settler

    @property
    def warnings(self) -> list[str]:
        """What is worth saying but keeps nothing from being sent; complete once the rows were read."""
        return list(self._settler.warnings)

    def drafts(self, problems: ProblemLog) -> Iterator[Draft]:
        """The rows in order, one at a time; bad ones are reported to `problems` and left out."""
        expander = Expander(self._settler, self.variables, problems)
        for block in self._blocks:
            yield from expander.drafts(block)


def open_manifest(
    path: Path,
    *,
    catalog: Catalog,
    dialect: str,
    defaults: Mapping[str, str] | None = None,
    variables: Sequence[str] = (),
    allow_unknown_model: bool = False,
    no_local_images: str = "",
) -> Manifest:
    """The manifest at this path; raises `ManifestError` with everything that is wrong with its form.

    `no_local_images` says why reference images cannot be local files; empty when they can.
    """
    if dialect not in catalog.dialects:
        known = ", ".join(catalog.dialects)
        raise UsageError(f"The catalogue knows no dialect {shown(dialect)}.", hint=f"It has: {known}.")
    _check_declared(variables)
    log = ProblemLog()
    ending = path.suffix.lower()
    if ending in ENDINGS:
        name, names, blocks = _open_table(path, variables, log)
    elif ending in YAML_ENDINGS:
        name, names, blocks = _open_yaml(path, variables, log)
    else:
        known = " ".join((*YAML_ENDINGS, *ENDINGS))
        kind = "is a folder; a manifest is a file that" if path.is_dir() else "is no manifest: one"
        raise UsageError(f"{path} {kind} ends in one of {known}.")
    given = _command_line_defaults(defaults or {}, names, bool(log))
    blocks = [replace(block, defaults={**given, **block.defaults}) for block in blocks]
    for block in blocks:
        _require(block, path.name, log)
    _raise_distinct(log)
    local_images = LocalImages(path.parent, no_local_images)
    settler = Settler(catalog, dialect, local_images, allow_unknown_model=allow_unknown_model)
    return Manifest(name, path, names, blocks, settler)


def _open_table(
    path: Path, variables: Sequence[str], log: ProblemLog
) -> tuple[str, tuple[str, ...], list[Block]]:
    name = _name(path.stem, path.name, log)
    table = Table(path, path.name)
    header, problems = table.header()
    log.extend(problems)
    if problems:
        return name, (), []
    columns, findings = table_columns(header, {}, variables)
    for finding, _ in findings:
        log.add(
            Problem(f"{path.name}:1", finding.message, finding.field, finding.allowed, finding.suggestion)
        )
    names = tuple(column for column in columns if column not in ROW_NAMES)
    source = TableRows(table, tuple(header), tuple(columns.items()))
    return (
        name,
        names,
        [Block(source, {}, templated=False, names=frozenset(names), row_names=frozenset(columns))],
    )


def _open_yaml(
    path: Path, variables: Sequence[str], log: ProblemLog
) -> tuple[str, tuple[str, ...], list[Block]]:
    root, problems = read_nodes(path, path.name)
    log.extend(problems)
    if root is None:
        return path.stem, (), []
    name = _yaml_name(root, path, log)
    form = Form(path, log, variables)
    blocks = BlockReader(root, form).blocks()
    return name, form.variables, blocks


def _yaml_name(root: Map, path: Path, log: ProblemLog) -> str:
    node = root.get("name")
    if node is None or (isinstance(node, Scalar) and node.text is None):
        return _name(path.stem, path.name, log)
    at = place(path.name, node.pos)
    if isinstance(node, Scalar) and node.text is not None:
        return _name(node.text, at, log)
    log.add(Problem(at, "expected a text", "name"))
    return path.stem


def _name(text: str, source: str, log: ProblemLog) -> str:
    fault = id_fault(text)
    if fault:
        rule = ALLOWED.replace("an id", "a name", 1)
        log.add(Problem(source, f"{shown(text)} cannot name an output folder: {fault}; {rule}", "name"))
    return text


def _check_declared(variables: Sequence[str]) -> None:
    for name in variables:
        if name in ROW_NAMES:
            raise UsageError(f"--variables {name}: {name} is a field and cannot be a variable.")


def _command_line_defaults(
    defaults: Mapping[str, str], variables: tuple[str, ...], damaged: bool
) -> dict[str, Given]:
    known = (*(name for name in ROW_NAMES if name != "id"), *variables)
    for name in defaults:
        # When the file has problems, its variables are not all known, and its problems say more.
        if name not in known and not damaged:
            near = closest(name, known)
            hint = f"Did you mean {near!r}?" if near else f"Known: {', '.join(known)}."
            raise UsageError(f"--defaults {shown(name)}: no such field or variable.", hint=hint)
    return {name: Given(value, "--defaults") for name, value in defaults.items() if value}


def _raise_distinct(log: ProblemLog) -> None:
    # What stands at the top is read once for each block, and its problems are found as often.
    distinct = tuple(dict.fromkeys(log))
    if distinct:
        raise ManifestError(distinct, max(len(distinct), log.total if log.total > 1000 else 0))


def _require(block: Block, file: str, log: ProblemLog) -> None:
    """What no row can have is said once, not once for every row."""
    for name in ("model", "prompt"):
        if not _may_have(block, name):
            adding = f"`--defaults {name}=...`"
            where = f"add `{name}` under `defaults`" if block.templated else f"add a column `{name}`"
            log.add(Problem(file, f"no row can have a {name}; {where}, or give {adding}", name))


def _may_have(block: Block, name: str) -> bool:
    return name in block.defaults or name in block.row_names or any(f.name == name for f in block.factors)

"""Rows are written out one at a time; a bad one is reported with everything wrong in it, and skipped.

A wrong value that many rows share (a default, a factor of a matrix) is reported once, where it stands.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from nanobanana_batch.catalog import Finding, PromptFault, prompt_fault
from nanobanana_batch.file_names import id_fault
from nanobanana_batch.manifest.combine.grid import MAX_VARIANTS, Grid, Point, variant_count
from nanobanana_batch.manifest.form.block import Block, SourceRow
from nanobanana_batch.manifest.form.skips import EMPTY, OPTIONS, TOO_LONG
from nanobanana_batch.manifest.form.styles import STYLE, styled
from nanobanana_batch.manifest.form.table_source import TableRows
from nanobanana_batch.manifest.rows.apart import parts_of
from nanobanana_batch.manifest.rows.plain import plain_rows
from nanobanana_batch.manifest.rows.remarks import Remarks, SkippedRow
from nanobanana_batch.manifest.rows.settle import Settler
from nanobanana_batch.manifest.words.ids import portable, word
from nanobanana_batch.manifest.words.template import (
    Template,
    TemplateFault,
    Value,
    as_text,
    compiled,
    texts_of,
    unknown_name,
)
from nanobanana_batch.model import Draft, PlainDrafts
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import shown

_REMEMBERED = 10_000
_REASONS = {PromptFault.EMPTY: EMPTY, PromptFault.TOO_LONG: TOO_LONG}


class _Refused(Exception):
    """The row cannot be made; the finding says why, the place where if it is not the row's own."""

    def __init__(self, finding: Finding, place: str = "") -> None:
        super().__init__(finding.message)
        self.finding = finding
        self.place = place


@dataclass(frozen=True, slots=True)
class _Cell:
    """One row at one point of the matrix."""

    block: Block
    row: SourceRow
    values: dict[str, Value]
    grid: Grid
    point: Point

    def place(self, name: str) -> str:
        place = self.grid.place(self.point, name)
        if place:
            return place
        if name in self.row.values or name not in self.block.defaults:
            return self.row.place(name)
        return self.block.defaults[name].place

    def is_literal(self, field: str) -> bool:
        """Whether the field is taken as written, braces and all."""
        if not self.block.templated:
            return True
        return self.row.literal_prompt and field in self.row.values


class _NoPrompt(_Refused):
    """The row gives no prompt at all."""


class Expander:
    """Writes out blocks for one reading of a manifest."""

    def __init__(
        self,
        settler: Settler,
        variables: tuple[str, ...],
        log: ProblemLog,
        remarks: Remarks,
        *,
        keeps_named: bool = False,
    ) -> None:
        self._settler = settler
        self._keeps_named = keeps_named
        self._remarks = remarks
        self._variables = variables
        self._log = log
        self._told: set[tuple[str, Finding]] = set()

    def drafts(self, grid: Grid) -> Iterator[Draft | None]:
        """Rows in order, for each its combinations, for each its variants; `None` for a bad one."""
        for row, point, values in grid.cells(self._log):
            yield from self._variants(_Cell(grid.block, row, values, grid, point))

    def light_drafts(self, grid: Grid, *, apart: bool = False) -> Generator[Draft | PlainDrafts | None]:
        """The same, those of plain rows as `PlainDrafts`, which takes a third of the time.

        `apart`: another process may read them.
        """
        plain, source = plain_rows(grid, self._variables, self._settler), grid.block.source
        if plain is None or not isinstance(source, TableRows):
            yield from self.drafts(grid)
            return
        rows = 0
        with closing(parts_of(source, plain, self._settler.warnings, self._log, apart=apart)) as parts:
            for part in parts:
                if isinstance(part, PlainDrafts):
                    rows += len(part.sources)
                    yield part
                else:
                    rows += 1
                    row, point, values = grid.cell(source.row(*part))
                    yield from self._variants(_Cell(grid.block, row, values, grid, point))
        grid.was_read(rows)

    def _variants(self, cell: _Cell) -> Iterator[Draft | None]:
        count = 1
        if "variants" in cell.values:
            count = variant_count(cell.values["variants"])
            if not count:
                text = shown(as_text(cell.values["variants"]))
                finding = Finding("variants", f"{text} is no whole number from 1 to {MAX_VARIANTS}")
                self._report(cell, finding)
        variables = tuple([(n, as_text(cell.values[n])) for n in self._variables if n in cell.values])
        # A wrong number still has the rest of its row checked, once.
        for variant in range(1, (count or 1) + 1):
            draft = self._draft(cell, variant, variables)
            yield draft if count else None

    def _draft(self, cell: _Cell, variant: int, variables: tuple[tuple[str, str], ...]) -> Draft | None:
        sound, values = True, cell.values
        try:
            values = _with_images(cell, variant)
        except _Refused as refused:
            self._refuse(cell, refused)
            sound, values = False, {name: value for name, value in values.items() if name != "images"}
        try:
            prompt = _styled(cell, _prompt(cell, values, variant, self._remarks))
        except _Refused as refused:
            if isinstance(refused, _NoPrompt) and self._skips(cell, "", variant):
                return None
            self._refuse(cell, refused)
            prompt, sound = "?", False
        if cell.block.skip and self._skips(cell, prompt, variant):
            return None
        request, findings = self._settler.settle(values, prompt)
        for finding in findings:
            way = _way_out(prompt) if cell.row.literal_prompt and finding.field == "prompt" else ""
            self._report(cell, replace(finding, message=finding.message + way))
        try:
            id = _row_id(cell, values, prompt, variant)
        except _Refused as refused:
            self._refuse(cell, refused)
            return None
        if (findings or not sound) and not (self._keeps_named and id is not None):
            return None
        suggested = _suggested_id(cell, variant) if id is None else ""
        return Draft(cell.row.source, request, id, variant, variables, suggested)

    def _skips(self, cell: _Cell, prompt: str, variant: int) -> bool:
        """Whether the row is one that is left out, which is noted."""
        fault = prompt_fault(prompt)
        reason = _REASONS.get(fault, "")
        if reason not in cell.block.skip:
            return False
        self._remarks.skip(SkippedRow(cell.row.source, reason, prompt, variant, cell.values))
        return True

    def _report(self, cell: _Cell, finding: Finding) -> None:
        # What is wrong with a prompt depends on the row even where the template is shared.
        place = cell.row.place("prompt") if finding.field == "prompt" else cell.place(finding.field)
        shared = place != cell.row.place(finding.field)
        self._tell(finding, place, f" (first met in {cell.row.source})" if shared and cell.row.values else "")

    def _refuse(self, cell: _Cell, refused: _Refused) -> None:
        self._tell(refused.finding, refused.place or cell.row.source)

    def _tell(self, finding: Finding, place: str, more: str = "") -> None:
        """Report each finding once at each place."""
        if (place, finding) not in self._told:
            if len(self._told) < _REMEMBERED:
                self._told.add((place, finding))
            self._log.add(replace(finding, message=finding.message + more).at(place))


def _with_images(cell: _Cell, variant: int) -> dict[str, Value]:
    """The values of a row with its images written out."""
    given = cell.values.get("images")
    if given is None or cell.is_literal("images"):
        return cell.values
    others = {name: value for name, value in cell.values.items() if name != "prompt"}
    written = tuple([_filled(text, others, cell, "images", variant) for text in texts_of(given)])
    return {**cell.values, "images": written[0] if isinstance(given, str) else written}


def _prompt(cell: _Cell, values: dict[str, Value], variant: int, remarks: Remarks) -> str:
    text = as_text(values.get("prompt", ""))
    if cell.is_literal("prompt"):
        if "{" in text or "__" in text:
            remarks.literal(text, cell.row.source, cell.block.names)
        return text
    # A block scalar (`prompt: |`) ends in a newline that nobody means, and that would change the row key.
    text = text.rstrip("\n")
    if not text:
        missing = Finding("prompt", "no prompt is given", rests_on="prompt")
        raise _NoPrompt(missing, cell.place("prompt"))
    return _filled(text, values, cell, "prompt", variant)


def _styled(cell: _Cell, prompt: str) -> str:
    text = cell.block.styles.get(as_text(cell.values.get(STYLE, ""))) if cell.block.styles else None
    if text is None or prompt_fault(prompt) is PromptFault.EMPTY:  # which no style makes up for
        return prompt
    return styled(prompt, text)


def _way_out(prompt: str) -> str:
    reason = _REASONS.get(prompt_fault(prompt))
    return f"; `--skip {OPTIONS[reason]}` leaves such rows out" if reason else ""


def _filled(text: str, given: dict[str, Value], cell: _Cell, field: str, variant: int) -> str:
    """The template of a field that belongs to one row, written out; it cannot stand inside of itself."""
    if "{" not in text and "}" not in text:
        return text
    try:
        template = compiled(text, cell.block.names)
    except TemplateFault as fault:
        raise _Refused(fault.finding(field), cell.place(field)) from fault
    values: dict[str, Value] = {**given, "variant": str(variant)}
    del values[field]
    return _rendered(template, values, cell, field)


def _rendered(template: Template, values: dict[str, Value], cell: _Cell, field: str) -> str:
    try:
        return template.render(values)
    except TemplateFault as too_long:
        raise _Refused(too_long.finding(field)) from too_long
    except KeyError as error:
        name = str(error.args[0])
    fault = unknown_name(name, cell.block.names, field, cell.block.renamed)
    if fault:
        raise _Refused(fault, cell.block.id_place if field == "id" else cell.place(field))
    message = f"the template wants {{{name}}}, and this row gives no {name}"
    if name != "id":
        message += "; `defaults` may give one"
    raise _Refused(Finding(field, message, rests_on=name))


def _row_id(cell: _Cell, values: dict[str, Value], prompt: str, variant: int) -> str | None:
    own = as_text(cell.values["id"]) if "id" in cell.values else ""
    if own:
        _refuse_bad_id(own, cell)
    template = cell.block.id_template
    if template is not None:
        words: dict[str, Value] = {name: word(as_text(value)) for name, value in values.items()}
        words.update(prompt=word(prompt), variant=str(variant))
        if own:
            words["id"] = own
        name = _rendered(template, words, cell, "id")
        return portable(name if variant == 1 or "variant" in template.names else f"{name}-v{variant}")
    if not own:
        return None
    parts = [own, *cell.grid.words(cell.point)]
    if variant > 1:
        parts.append(f"v{variant}")
    return portable("-".join(parts)) if len(parts) > 1 else own


def _suggested_id(cell: _Cell, variant: int) -> str:
    """Of a row that is nothing but a combination: what tells it from the others."""
    words = [] if cell.row.values else list(cell.grid.words(cell.point))
    if not words:
        return ""
    return portable("-".join([*words, *([f"v{variant}"] if variant > 1 else [])]))


def _refuse_bad_id(id: str, cell: _Cell) -> None:
    fault = id_fault(id)
    if fault:
        raise _Refused(Finding("id", f"{shown(id)} cannot be an id: {fault}"), cell.place("id"))

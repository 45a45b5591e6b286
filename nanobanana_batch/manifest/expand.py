"""Rows are written out one at a time; a bad one is reported with everything wrong in it, and skipped.

A wrong value that many rows share (a default, a factor of a matrix) is reported once, where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nanobanana_batch.catalog import Finding, closest, shown
from nanobanana_batch.errors import Problem, ProblemLog
from nanobanana_batch.manifest.block import Block, SourceRow
from nanobanana_batch.manifest.ids import ALLOWED, id_fault, portable, word
from nanobanana_batch.manifest.names import ROW_NAMES
from nanobanana_batch.manifest.settle import MAX_VARIANTS, Settler, variant_count
from nanobanana_batch.manifest.template import Template, TemplateFault, Value, as_text, compiled
from nanobanana_batch.model import Draft

_REMEMBERED = 10_000


class _Refused(Exception):
    """The row cannot be made; the finding says why, the place where if it is not the row's own."""

    def __init__(self, finding: Finding, place: str = "") -> None:
        super().__init__(finding.message)
        self.finding = finding
        self.place = place


class _OnceLog:
    """Passes each distinct problem on once."""

    def __init__(self, log: ProblemLog) -> None:
        self._log = log
        self._seen: set[tuple[str, Finding]] = set()

    def add(self, finding: Finding, place: str, row: str = "") -> None:
        """Report a finding; `row` is the first row that has met it, where the place does not say."""
        if (place, finding) in self._seen:
            return
        if len(self._seen) < _REMEMBERED:
            self._seen.add((place, finding))
        message = finding.message + (f" (first met in {row})" if row else "")
        self._log.add(Problem(place, message, finding.field, finding.allowed, finding.suggestion))


@dataclass(frozen=True, slots=True)
class _Cell:
    """One row at one point of the matrix."""

    block: Block
    row: SourceRow
    point: tuple[int, ...]
    values: dict[str, Value]

    def place(self, name: str) -> str:
        for factor, index in zip(self.block.factors, self.point, strict=True):
            if factor.name == name:
                return factor.places[index]
        if name in self.row.values or name not in self.block.defaults:
            return self.row.place(name)
        return self.block.defaults[name].place

    def prompt_is_literal(self) -> bool:
        if not self.block.templated:
            return True
        return self.row.literal_prompt and "prompt" in self.row.values


class Expander:
    """Writes out blocks for one reading of a manifest."""

    def __init__(self, settler: Settler, variables: tuple[str, ...], log: ProblemLog) -> None:
        self._settler = settler
        self._variables = variables
        self._raw_log = log
        self._log = _OnceLog(log)

    def drafts(self, block: Block) -> Iterator[Draft]:
        """Rows in order, then the matrix with the last factor fastest, then variants."""
        defaults = {name: given.value for name, given in block.defaults.items()}
        names = [factor.name for factor in block.factors]
        for row in block.source.rows(self._raw_log):
            base = {**defaults, **row.values}
            for point in block.combinations():
                values = base
                if names:
                    chosen = [factor.values[i] for factor, i in zip(block.factors, point, strict=True)]
                    values = {**base, **dict(zip(names, chosen, strict=True))}
                if not block.exclude or not block.excludes(values):
                    yield from self._variants(_Cell(block, row, point, values))

    def _variants(self, cell: _Cell) -> Iterator[Draft]:
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
            if draft and count:
                yield draft

    def _draft(self, cell: _Cell, variant: int, variables: tuple[tuple[str, str], ...]) -> Draft | None:
        sound = True
        try:
            prompt = self._prompt(cell, variant)
        except _Refused as refused:
            self._log.add(refused.finding, refused.place or cell.row.source)
            prompt, sound = "?", False
        request, findings = self._settler.settle(cell.values, prompt)
        for finding in findings:
            self._report(cell, finding)
        try:
            id = _row_id(cell, prompt, variant)
        except _Refused as refused:
            self._log.add(refused.finding, refused.place or cell.row.source)
            return None
        if findings or not sound:
            return None
        return Draft(cell.row.source, request, id, variant, variables)

    def _report(self, cell: _Cell, finding: Finding) -> None:
        # What is wrong with a prompt depends on the row even where the template is shared.
        place = cell.row.place("prompt") if finding.field == "prompt" else cell.place(finding.field)
        shared = place != cell.row.place(finding.field)
        self._log.add(finding, place, cell.row.source if shared else "")

    def _prompt(self, cell: _Cell, variant: int) -> str:
        text = as_text(cell.values.get("prompt", ""))
        if cell.prompt_is_literal():
            return text
        # A block scalar (`prompt: |`) ends in a newline that nobody means, and that would change the row key.
        text = text.rstrip("\n")
        if not text:
            raise _Refused(Finding("prompt", "no prompt is given"))
        if "{" not in text and "}" not in text:
            return text
        try:
            template = compiled(text)
        except TemplateFault as fault:
            raise _Refused(Finding("prompt", str(fault)), cell.place("prompt")) from fault
        if not template.names:
            return template.render({})
        values = {name: value for name, value in cell.values.items() if name != "prompt"}
        values["variant"] = str(variant)
        return _rendered(template, values, cell, "prompt", cell.place("prompt"))


def _rendered(template: Template, values: dict[str, Value], cell: _Cell, field: str, place: str) -> str:
    try:
        return template.render(values)
    except KeyError as error:
        name = str(error.args[0])
    fault = unknown_name(name, cell.block.names, field)
    if fault:
        raise _Refused(fault, place)
    raise _Refused(Finding(field, f"the template wants {{{name}}}, and this row gives no {name}"))


def unknown_name(name: str, variables: frozenset[str], field: str) -> Finding | None:
    """Why a template of this field may not use this name; `None` when some row may have it."""
    if field == "prompt" and name == "prompt":
        return Finding(field, "a prompt cannot stand inside of itself")
    known = (*variables, *(n for n in ROW_NAMES if n not in (field, "variants")), "variant")
    if name in known or (field == "id" and name == "id"):
        return None
    near = closest(name, known)
    message = f"unknown variable {{{name}}}"
    if not near:
        message += "; write {{ and }} for braces" + (
            f"; variables here: {', '.join(sorted(variables)[:20])}" if variables else ""
        )
    return Finding(field, message, suggestion=f"{{{near}}}" if near else "")


def _row_id(cell: _Cell, prompt: str, variant: int) -> str | None:
    own = as_text(cell.values["id"]) if "id" in cell.values else ""
    if own:
        _refuse_bad_id(own, cell)
    template = cell.block.id_template
    if template is not None:
        words: dict[str, Value] = {name: word(as_text(value)) for name, value in cell.values.items()}
        words.update(prompt=word(prompt), variant=str(variant))
        if own:
            words["id"] = own
        name = _rendered(template, words, cell, "id", cell.block.id_place)
        return portable(name if variant == 1 or "variant" in template.names else f"{name}-v{variant}")
    if not own:
        return None
    parts = [own, *(factor.words[i] for factor, i in zip(cell.block.factors, cell.point, strict=True))]
    if variant > 1:
        parts.append(f"v{variant}")
    return portable("-".join(parts)) if len(parts) > 1 else own


def _refuse_bad_id(id: str, cell: _Cell) -> None:
    fault = id_fault(id)
    if fault:
        raise _Refused(Finding("id", f"{shown(id)} cannot be an id: {fault}; {ALLOWED}"), cell.place("id"))

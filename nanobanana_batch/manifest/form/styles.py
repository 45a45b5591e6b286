"""`styles`: a table of texts with `{prompt}` in them, as AUTOMATIC1111 and SDXL have; each row in each one.

What stands there is text and no template: only `{prompt}` is filled, and a style without it is put behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.form.block import Column, Factor
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.read.nodes import Map, Node, Scalar, Seq, place
from nanobanana_batch.manifest.read.origin import kind_of, open_table
from nanobanana_batch.manifest.read.table import Table
from nanobanana_batch.manifest.words.ids import distinct_words
from nanobanana_batch.manifest.words.names import NO_SETTING
from nanobanana_batch.manifest.words.template import as_text
from nanobanana_batch.wording import closest, counted, shown

STYLE = "style"
"""The factor that says in which style a row is made."""
MAX_STYLES = 10_000
_PLACEHOLDER = "{prompt}"
_KEYS = ("table", "template", "name", "only")
_NEGATIVE = "negative_prompt"
_EXAMPLE = "styles.csv, or {table: styles.csv, template: prompt, name: name, only: [Ink, Anime]}"


@dataclass(frozen=True, slots=True)
class Styles:
    """The factor, and the text of each style by its name."""

    factor: Factor
    texts: Mapping[str, str]


def styled(prompt: str, text: str) -> str:
    """A prompt in a style, as the program does that such tables are made for."""
    if _PLACEHOLDER in text:
        return text.replace(_PLACEHOLDER, prompt)
    return ", ".join(filter(None, (prompt.strip(), text.strip())))


def read_styles(form: Form, entries: Entries) -> Styles | None:
    """What `styles` of a block says."""
    if "styles" not in entries:
        return None
    pos, node = entries["styles"]
    if isinstance(node, Scalar) and node.text is None:
        return None
    asked = _asked(form, node)
    if asked is None:
        return None
    table = _table(form, asked["table"])
    if table is None or not form.name(STYLE, pos):
        return None
    named = {key: asked[key].text or "" for key in ("template", "name") if key in asked}
    texts = _texts(form, table, named.get("template", "prompt"), named.get("name", "name"))
    wanted = _only(form, node, texts)
    texts = {name: text for name, text in texts.items() if not wanted or name in wanted}
    if not texts:
        return None
    braces = sum("{" in text.replace(_PLACEHOLDER, "") for text in texts.values())
    if braces:
        message = f"{counted(braces, 'style')} with braces around something else than {_PLACEHOLDER[1:-1]}"
        form.warnings.append(str(Problem(table.file, f"{message}; they are sent as they stand", "styles")))
    names = tuple(texts)
    column = Column(STYLE, names, (place(form.file, node.pos),), distinct_words(names))
    return Styles(Factor((column,)), texts)


def _asked(form: Form, node: Node) -> dict[str, Scalar] | None:
    if isinstance(node, Scalar):
        return {"table": node}
    if not isinstance(node, Map) or not isinstance(node.get("table"), Scalar):
        form.note(node.pos, f"expected {_EXAMPLE}", "styles")
        return None
    for key, (pos, _) in node.entries.items():
        if key not in _KEYS:
            form.note(pos, f"unknown key {shown(key)}; expected {_EXAMPLE}", "styles", closest(key, _KEYS))
    return {key: item for key, (_, item) in node.entries.items() if isinstance(item, Scalar)}


def _table(form: Form, node: Scalar) -> Table | None:
    file = node.text or ""
    kind = kind_of(file)
    if kind in (None, "txt"):
        form.note(node.pos, f"{shown(file)} is no table of styles; a CSV or JSON file is one", "styles")
        return None
    assert kind is not None
    if not form.is_there("styles", node):
        return None
    return open_table(form.folder / file, file, kind, form.reach)


def _texts(form: Form, table: Table, template: str, name: str) -> dict[str, str]:
    header = table.header()
    form.log.extend(header.problems)
    missing = [column for column in (template, name) if column not in header.names]
    if header.problems or missing:
        for column in missing if header.names else ():
            message = (
                f"a table of styles has no column {shown(column)}; `template` and `name` say which are meant"
            )
            near = closest(column, header.names)
            form.log.add(Problem(table.file, message, "styles", header.names, near))
        return {}
    at, called = header.names.index(template), header.names.index(name)
    negative = header.names.index(_NEGATIVE) if _NEGATIVE in header.names else -1
    found: dict[str, str] = {}
    without = repeated = not_sent = 0
    for _, cells in table.rows(header.names, form.log):
        text, style = as_text(cells[at]).strip(), as_text(cells[called]).strip()
        not_sent += negative >= 0 and bool(as_text(cells[negative]).strip())
        if not text or not style:
            without += 1
        elif style in found:
            repeated += 1
        elif len(found) < MAX_STYLES:
            found[style] = text
    _tell(form, table, without, "without a text or a name")
    _tell(form, table, repeated, "with a name that stands there already")
    if not_sent:
        message = f"of {counted(not_sent, 'style')} is not sent: {NO_SETTING}"
        form.warnings.append(str(Problem(table.file, message, _NEGATIVE)))
    form.warnings.extend(table.notes())
    if not found and not form.log:
        form.log.add(Problem(table.file, "there is no style with a name and a text", "styles"))
    return found


def _tell(form: Form, table: Table, count: int, what: str) -> None:
    if count:
        message = f"{counted(count, 'style')} {what} {'is' if count == 1 else 'are'} left out"
        form.warnings.append(str(Problem(table.file, message, "styles")))


def _only(form: Form, node: Node, texts: Mapping[str, str]) -> set[str]:
    listed = node.get("only") if isinstance(node, Map) else None
    if listed is None:
        return set()
    items = listed.items if isinstance(listed, Seq) else [listed]
    if not items:
        form.note(listed.pos, "expected at least one style; leave it out for all of them", "styles")
    found = set()
    for item in items:
        text = item.text if isinstance(item, Scalar) else None
        if text in texts:
            found.add(str(text))
        elif texts:
            near = closest(text or "", texts)
            form.note(item.pos, f"no style is called {shown(text or '')}", "styles", near)
    return found

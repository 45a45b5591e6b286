"""`skip` says which rows are left out and counted, instead of keeping all others from being made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nanobanana_batch.catalog import FALSE, TRUE
from nanobanana_batch.errors import UsageError
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.read.nodes import Map, Scalar
from nanobanana_batch.wording import closest, shown

EMPTY, TOO_LONG = "empty_prompt", "too_long"
REASONS: Mapping[str, str] = {EMPTY: "an empty prompt", TOO_LONG: "a prompt that is too long"}
OPTIONS: Mapping[str, str] = {EMPTY: "empty", TOO_LONG: "too-long"}
"""What `--skip` calls them."""


def read_skip(form: Form, entries: Entries) -> frozenset[str]:
    """The reasons that a block gives."""
    node = entries["skip"][1] if "skip" in entries else None
    if node is None or (isinstance(node, Scalar) and node.text is None):
        return frozenset()
    example = "{empty_prompt: true, too_long: true}"
    if not isinstance(node, Map):
        form.note(node.pos, f"expected {example}", "skip")
        return frozenset()
    found = set()
    for key, (pos, value) in node.entries.items():
        word = (value.text or "").strip().casefold() if isinstance(value, Scalar) else ""
        if key not in REASONS:
            form.note(pos, f"unknown key {shown(key)}; it has {example}", "skip", closest(key, REASONS))
        elif word not in TRUE and word not in FALSE:
            form.note(value.pos, "expected yes or no", "skip")
        elif word in TRUE:
            found.add(key)
    return frozenset(found)


def skips_of(words: Iterable[str]) -> frozenset[str]:
    """The reasons that stand behind `--skip`, several with commas between them.

    Raises:
        UsageError: there is no such reason.
    """
    known = {word: reason for reason, word in OPTIONS.items()} | {reason: reason for reason in REASONS}
    asked = [word.strip() for each in words for word in each.split(",") if word.strip()]
    for word in asked:
        if word not in known:
            raise UsageError(f"--skip {shown(word)}: it takes {' and '.join(OPTIONS.values())}.")
    return frozenset(known[word] for word in asked)

"""Drawing from a product that is never built: only the numbers of what was drawn are kept."""

from __future__ import annotations

import random
import re

from nanobanana_batch.manifest.block import Sample
from nanobanana_batch.manifest.forms import Entries, Form
from nanobanana_batch.manifest.nodes import Map, Scalar, place
from nanobanana_batch.wording import closest, shown

SAMPLE_KEYS = ("n", "seed")
MAX_SAMPLE = 10_000_000
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def drawn(total: int, count: int, seed: int) -> list[int]:
    """So many different numbers below `total`, ascending; a larger `count` keeps what a smaller one drew."""
    # The first steps of a Fisher-Yates shuffle of all numbers, of which only those that moved are kept.
    source = random.Random(seed)
    moved: dict[int, int] = {}
    found = []
    for index in range(min(count, total)):
        other = source.randrange(index, total)
        found.append(moved.get(other, other))
        moved[other] = moved.pop(index, index)
    return sorted(found)


def read_sample(form: Form, entries: Entries) -> Sample | None:
    """What `sample` of a block asks for."""
    if "sample" not in entries:
        return None
    pos, node = entries["sample"]
    if isinstance(node, Scalar) and node.text is None:
        return None
    if not isinstance(node, Map):
        form.note(node.pos, "expected {n: 200}, or {n: 200, seed: 1}", "sample")
        return None
    for key, (at, _) in node.entries.items():
        if key not in SAMPLE_KEYS:
            form.note(at, f"unknown key {shown(key)}", "sample", closest(key, SAMPLE_KEYS))
    if "n" not in node.entries:
        form.note(node.pos, "`n` says how many combinations are drawn, as in {n: 200}", "sample")
        return None
    count, seed = _number(form, node, "n", 1, MAX_SAMPLE), _number(form, node, "seed", 0, None)
    return None if count is None or seed is None else Sample(place(form.file, pos), count, seed)


def _number(form: Form, node: Map, key: str, least: int, most: int | None) -> int | None:
    value = node.get(key)
    if value is None:
        return 0
    text = value.text if isinstance(value, Scalar) else None
    if text is not None and _WHOLE_NUMBER.fullmatch(text):
        number = int(text)
        if number >= least and (most is None or number <= most):
            return number
    wanted = f"a whole number from {least}" + (f" to {most}" if most else " on")
    form.note(value.pos, f"`{key}` is {wanted}", "sample")
    return None

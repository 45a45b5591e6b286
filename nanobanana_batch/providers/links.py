"""Where the links of a finished task stand: every shape that was seen, and what a profile names besides.

Contract, "Query": accept every shape of a result. The first place that shows a link is believed: what
stands in another may be the same images once more, or those that the request had named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from nanobanana_batch.providers.values import as_link

RESULTS = ("results", "result_data", "images", "output")
"""Fields of a task that hold its links, in the order of trust."""
_LINK_NAMES = ("url", "image_url", "file_url")
_INNER = ("images", "results", "output", "data")
"""Of an object in place of a link: what may hold the links in turn."""
_DEEPEST = 5
_MOST_LINKS = 100
"""Of one task; more are no images that somebody has asked for."""
_LONGEST_JSON = 1 << 20


def links_of(task: Mapping[str, Any], paths: Iterable[str] = ()) -> tuple[str, ...]:
    """All links of a task in order, none twice; a person's own paths (`pictures.href`) come first."""
    places = [_at(task, path.replace("[]", "").split(".")) for path in paths]
    for place in (*places, *([task.get(name)] for name in RESULTS)):
        if links := tuple(dict.fromkeys(islice(_links_in(list(place)), _MOST_LINKS))):
            return links
    return ()


def _at(value: object, names: list[str]) -> Iterator[object]:
    """What stands at a path; lists on the way are walked."""
    if isinstance(value, list):
        for item in value:
            yield from _at(item, names)
    elif not names:
        yield value
    elif isinstance(value, dict) and names[0] in value:
        yield from _at(value[names[0]], names[1:])


def _links_in(value: object, depth: int = 0) -> Iterator[str]:
    """Of a list all; of an object its link, else those of what it holds."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for item in value:
            yield from _links_in(item, depth + 1)
    elif isinstance(value, dict):
        yield from _links_of_object(value, depth + 1)
    elif (link := as_link(value)) is not None:
        yield link
    elif isinstance(value, str) and value[:1] in ("[", "{") and len(value) <= _LONGEST_JSON:
        yield from _links_in(_json(value), depth + 1)


def _links_of_object(value: Mapping[str, Any], depth: int) -> list[str]:
    for name in (*_LINK_NAMES, *_INNER):
        if links := list(_links_in(value.get(name), depth)):
            return links
    return []


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

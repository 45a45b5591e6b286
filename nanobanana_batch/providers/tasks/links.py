"""Where the links of a finished task stand: every shape that was seen, and what a profile names besides.

Contract, "Query": accept every shape of a result. The first place that shows a link is believed: what
stands in another may be the same images once more, or those that the request had named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from nanobanana_batch.providers.tasks.values import as_link

RESULTS = ("results", "result_data", "images", "output")
"""Fields of a task that hold its links, in the order of trust."""
_LINK_NAMES = ("url", "image_url", "file_url")
_INNER = ("images", "results", "output", "data")
"""Of an object in place of a link: what may hold the links in turn."""
_DEEPEST = 5
_MOST_LINKS = 100
"""Of one task; more are no images that somebody has asked for."""
_MOST_VALUES = 10_000
"""Of one task that are looked at for links."""
_MOST_JSON = 1 << 18
"""Characters, of one task, of texts that hold JSON in turn."""


def links_of(task: Mapping[str, Any], paths: Iterable[str] = ()) -> tuple[str, ...]:
    """All links of a task in order, none twice; a person's own paths (`pictures.href`) come first."""
    search = _Search()
    places = [search.at(task, path.replace("[]", "").split(".")) for path in paths]
    for place in (*places, *([task.get(name)] for name in RESULTS)):
        found = (link for value in place for link in search.links_in(value, depth=1))
        if links := tuple(dict.fromkeys(islice(found, _MOST_LINKS))):
            return links
    return ()


class _Search:
    """For the links of one task: what it may look at is bounded, however a reply is built."""

    def __init__(self) -> None:
        self._values_left = _MOST_VALUES
        self._json_left = _MOST_JSON

    def at(self, value: object, names: list[str], depth: int = 0) -> Iterator[object]:
        """What stands at a path; lists on the way are walked."""
        if not self._may_look(depth):
            return
        if isinstance(value, list):
            for item in islice(value, _MOST_VALUES):
                yield from self.at(item, names, depth + 1)
        elif not names:
            yield value
        elif isinstance(value, dict) and names[0] in value:
            yield from self.at(value[names[0]], names[1:], depth)

    def links_in(self, value: object, depth: int = 0) -> Iterator[str]:
        """Of a list all; of an object its link, else those of what it holds."""
        if not self._may_look(depth):
            return
        if isinstance(value, list):
            for item in islice(value, _MOST_VALUES):
                yield from self.links_in(item, depth + 1)
        elif isinstance(value, dict):
            yield from self._links_of_object(value, depth + 1)
        elif (link := as_link(value)) is not None:
            yield link
        elif isinstance(value, str) and value[:1] in ("[", "{"):
            yield from self.links_in(self._json(value), depth + 1)

    def _links_of_object(self, value: Mapping[str, Any], depth: int) -> list[str]:
        for name in (*_LINK_NAMES, *_INNER):
            if links := list(islice(self.links_in(value.get(name), depth), _MOST_LINKS)):
                return links
        return []

    def _may_look(self, depth: int) -> bool:
        self._values_left -= 1
        return self._values_left >= 0 and depth <= _DEEPEST

    def _json(self, text: str) -> object:
        self._json_left -= len(text)
        if self._json_left < 0:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None

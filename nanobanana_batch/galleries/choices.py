"""Which pairs of pictures were judged before: a page does not ask for them again."""

from __future__ import annotations

import itertools
from typing import Any

from nanobanana_batch.collection.entries import Collection, Entry, Picture
from nanobanana_batch.collection.preferences import folder_between, pairs


def choices_before(collection: Collection) -> dict[str, Any]:
    """Each choice, with both pictures as records name them, and what preferences.csv calls other folders."""
    folders = dict(zip(collection.names, (folder.path for folder in collection.folders), strict=True))
    between: dict[str, dict[str, str]] = {name: {} for name in folders}
    for one, other in itertools.permutations(folders, 2):
        between[one][other] = folder_between(folders[one], folders[other])
    choices = [
        {
            "prompt": pair.prompt,
            "first": _named(*pair.first),
            "second": _named(*pair.second),
            "better": pair.better.value,
        }
        for pair in pairs(collection)
    ]
    return {"choices": choices, "between": between}


def _named(entry: Entry, picture: Picture) -> dict[str, str]:
    return {
        "folder": entry.folder_name,
        "id": entry.id,
        "image": picture.path,
        "row_key": entry.row_key,
        "sha256": picture.sha256,
    }

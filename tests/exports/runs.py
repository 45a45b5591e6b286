"""Output folders with whatever prompts, pictures and sources a test wants, made without a provider."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Drawn

from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.files.formats import identify
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, LocalImage, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

MODEL = "gemini-3.1-flash-image-preview"
HOSTILE = (
    'a "quoted" cat,\nwith\ttabs\r\nand lines',
    "emoji 🐈\u200d⬛ and עברית שלום",
    "</script><img src=x onerror=alert(1)>",
    "{braces|and wildcards} {{twice}}",
    "x" * 8000,
    "line\u2028separator\u0085next\x0bpage\x0cfeed",
)


@dataclass(frozen=True)
class Made:
    """One row."""

    id: str
    pictures: tuple[bytes, ...] = ()
    """None: it failed."""
    prompt: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    sources: tuple[Path | str, ...] = ()
    """Files, which are read now, or links."""
    model: str = MODEL


def picture(seed: int, format: str = "PNG", size: tuple[int, int] = (24, 16), **how: Any) -> bytes:
    """One of its own for each seed."""
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return encoded(Drawn.fromarray(levels), format, **how)


def encoded(image: Drawn.Image, format: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **how)
    return buffer.getvalue()


def make(folder: Path, rows: Iterable[Made], provider: str = "evolink@api.evolink.ai") -> Path:
    """Make these rows the manifest of a new folder, and bring each to its end."""
    folder.joinpath(IMAGE_FOLDER).mkdir(parents=True)
    listed, problems = list(rows), ProblemLog()
    variables = tuple(dict.fromkeys(name for row in listed for name in row.variables))
    store = Store(folder / STATE_NAME)
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(map(_draft, listed), problems)
        problems.raise_if_any()
        store.take_manifest(Taken(roster, folder.name, variables))
    for number, row in enumerate(listed, 1):
        key = f"key-{number}"
        intent = facts.Intent(number, number, 1, row.id, provider, "me", b"{}", "f", key, 1.0)
        store.apply([intent])
        store.apply([facts.Accepted(number, TaskMade(f"task-{number}", "req", 4.0, 20.0), 2.0)])
        store.apply(_ends(folder, number, row))
    store.close()
    return folder


def _draft(row: Made) -> Draft:
    files = tuple(_local(path) for path in row.sources if isinstance(path, Path))
    names = tuple(str(source) for source in row.sources)
    request = Request(row.model, row.prompt or f"draw {row.id}", "1:1", "1K", images=names, files=files)
    return Draft(f"test:{row.id}", request, row.id, variables=tuple(row.variables.items()))


def _local(path: Path) -> LocalImage:
    data = path.read_bytes()
    found = identify(memoryview(data))
    return LocalImage(
        str(path), str(path.absolute()), hashlib.sha256(data).hexdigest(), len(data), found.media_type
    )


def _ends(folder: Path, number: int, row: Made) -> list[facts.Fact]:
    if not row.pictures:
        return [facts.Failed(number, "service_error", "no", True, False, 5.0)]
    stems = [row.id, *(f"{row.id}~{more}" for more in range(2, len(row.pictures) + 1))]
    links = tuple(f"https://x/{stem}" for stem in range(len(stems)))
    told: list[facts.Fact] = [
        facts.Ready(number, links, 99.0, 3.0, 3.0, images=len(stems), stems=tuple(stems[1:]))
    ]
    for place, (stem, data) in enumerate(zip(stems, row.pictures, strict=True), 1):
        found = identify(memoryview(data))
        path = f"{IMAGE_FOLDER}/{stem}.{found.extension}"
        (folder / path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        time = (folder / path).stat().st_mtime
        image = Image(path, found.media_type, found.width, found.height, len(data), digest, time)
        told.append(facts.Saved(number, image, 4.0, place, place == len(stems)))
    return told

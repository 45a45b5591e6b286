"""Output folders of runs that have been, with rows as people have them: a real state, real pictures."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image as Pixels

from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, LocalImage, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

MODEL = "gemini-3.1-flash-image-preview"
PAID = "evolink@api.evolink.ai"
SAVED_AT = 1_790_000_000.0
_TYPES = {"PNG": ("image/png", "png"), "JPEG": ("image/jpeg", "jpg"), "WEBP": ("image/webp", "webp")}


@dataclass(frozen=True)
class Made:
    """A row, and how it ended."""

    id: str
    prompt: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    end: str = "saved"
    """saved, failed, refused or pending."""
    format: str = "PNG"
    pictures: int = 1
    data: bytes | Callable[[], bytes] = b""
    """Of its first picture, if that is to be this, or what makes it."""
    sources: tuple[tuple[str, str], ...] = ()
    """Local files that it was made from: name and sha256."""


def picture(text: str, format: str = "PNG", size: tuple[int, int] = (16, 16)) -> bytes:
    """A small real picture that differs by text."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    data = io.BytesIO()
    pixels = Pixels.frombytes("RGB", (4, 2), digest[:24]).resize(size, Pixels.Resampling.NEAREST)
    pixels.save(data, format)
    return data.getvalue()


def make_folder(folder: Path, rows: Sequence[Made], provider: str = PAID, name: str = "") -> Path:
    """Make these rows the manifest of a folder, and bring each to its end."""
    folder.joinpath(IMAGE_FOLDER).mkdir(parents=True, exist_ok=True)
    problems = ProblemLog()
    store = Store(folder / STATE_NAME)
    variables = tuple(dict.fromkeys(name for row in rows for name in row.variables))
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(map(_draft, rows), problems)
        problems.raise_if_any()
        store.take_manifest(Taken(roster, name or folder.name, variables))
    told = [
        fact
        for number, row in enumerate(rows, 1)
        if row.end != "pending"
        for fact in _facts(folder, number, row, provider)
    ]
    store.apply(told)
    store.close()
    return folder


def finish(folder: Path, number: int, row: Made, provider: str = PAID) -> None:
    """Bring a pending row, by its number from 1, to its end."""
    store = Store(folder / STATE_NAME)
    store.apply(_facts(folder, number, row, provider))
    store.close()


def _draft(row: Made) -> Draft:
    files = tuple(
        LocalImage(name, f"/pictures/{name}", digest, 9, "image/png") for name, digest in row.sources
    )
    prompt = row.prompt or f"a picture of {row.id}"
    request = Request(MODEL, prompt, "1:1", "1K", images=tuple(file.name for file in files), files=files)
    return Draft(f"test:{row.id}", request, row.id, variables=tuple(row.variables.items()))


def _facts(folder: Path, number: int, row: Made, provider: str) -> list[facts.Fact]:
    key = f"key-{number}"
    told: list[facts.Fact] = [
        facts.Intent(number, number, 1, row.id, provider, "me", b"{}", "f", key, SAVED_AT - 9),
        facts.Accepted(number, TaskMade(f"task-{number}", "req", 4.0, 20.0), SAVED_AT - 8),
    ]
    if row.end != "saved":
        code = "content_policy_violation" if row.end == "refused" else "service_error"
        return [*told, facts.Failed(number, code, "it said no", False, row.end == "refused", SAVED_AT)]
    links = tuple(f"https://x/{number}/{each}" for each in range(row.pictures))
    stems = tuple(f"{row.id}~{each + 1}" for each in range(1, row.pictures))
    told.append(facts.Ready(number, links, SAVED_AT, 4.0, SAVED_AT - 1, row.pictures, stems))
    for each, stem in enumerate((row.id, *stems)):
        image = _saved(folder, row, each, stem)
        told.append(facts.Saved(number, image, SAVED_AT + number, each + 1, each + 1 == row.pictures))
    return told


def _saved(folder: Path, row: Made, each: int, stem: str) -> Image:
    media_type, ending = _TYPES[row.format]
    given = row.data() if callable(row.data) else row.data
    data = given if given and not each else picture(f"{row.id} {each}", row.format)
    name = f"{IMAGE_FOLDER}/{stem}.{ending}"
    file = folder / name
    file.write_bytes(data)
    with Pixels.open(io.BytesIO(data)) as opened:
        width, height = opened.size
    digest = hashlib.sha256(data).hexdigest()
    return Image(name, media_type, width, height, len(data), digest, file.stat().st_mtime)

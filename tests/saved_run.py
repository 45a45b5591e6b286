"""An output folder with images of a test's own: a real state file, made without a provider."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.files.formats import identify
from nanobanana_batch.files.images import _time_of as time_of
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

MODEL = "gemini-3.1-flash-image-preview"


@dataclass(frozen=True)
class Made:
    """A row and the bytes of its image, or what makes them; None: nothing was sent yet."""

    id: str
    data: bytes | Callable[[], bytes] | None
    request: Request = field(default_factory=lambda: Request(MODEL, "a cat"))
    variables: dict[str, str] = field(default_factory=dict)
    variant: int = 1


def saved_run(folder: Path, rows: Sequence[Made], provider: str = "evolink@api.evolink.ai") -> Path:
    """The folder of a run that has ended, in which these are the images."""
    folder.joinpath(IMAGE_FOLDER).mkdir(parents=True)
    names = tuple(dict.fromkeys(name for row in rows for name in row.variables))
    store, problems = Store(folder / STATE_NAME), ProblemLog()
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(map(_draft, rows), problems)
        problems.raise_if_any()
        store.take_manifest(Taken(roster, folder.name, names))
    store.apply(
        [fact for number, row in enumerate(rows, 1) for fact in _facts(folder, number, row, provider)]
    )
    store.close()
    return folder


def _facts(folder: Path, number: int, row: Made, provider: str) -> Iterator[facts.Fact]:
    if row.data is None:
        return
    image = _file(folder, row.id, row.data if isinstance(row.data, bytes) else row.data())
    yield facts.Intent(number, number, 1, row.id, provider, "me", b"{}", "f", row.id, 1.0)
    yield facts.Accepted(number, TaskMade(f"task-{number}", "req", 4.0, 20.0), 2.0)
    yield facts.Ready(number, ("https://x/1",), 99.0, 3.0, 3.0)
    yield facts.Saved(number, image, 4.0)


def _draft(row: Made) -> Draft:
    variables = tuple(row.variables.items())
    return Draft(f"test:{row.id}", row.request, row.id, row.variant, variables)


def _file(folder: Path, id: str, data: bytes) -> Image:
    found = identify(memoryview(data))
    path = f"{IMAGE_FOLDER}/{id}.{found.extension}"
    (folder / path).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    size = found.width, found.height
    return Image(path, found.media_type, *size, len(data), digest, time_of(folder / path))

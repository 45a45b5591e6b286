"""Output folders to look at: real states and images that differ, made without a provider."""

from __future__ import annotations

import hashlib
import io
import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFilter

from nanobanana_batch.file_names import IMAGE_FOLDER
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.manifest import derive_id, fold_id
from nanobanana_batch.model import Draft, Image, LocalImage, Request, TaskMade
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.state import facts
from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.store import Store
from nanobanana_batch.state.taking import Taken

MODELS = ("gemini-3.1-flash-image-preview", "nano-banana-2", "nano-banana-beta")
_AT_ONCE = 500
_BEGAN = 1_764_200_000.0


@dataclass(frozen=True)
class Row:
    """One row; an `end` is `saved`, `failed`, `refused`, `expired`, or `pending` for nothing sent yet."""

    id: str
    prompt: str
    variables: dict[str, str] = field(default_factory=dict)
    model: str = MODELS[0]
    end: str = "saved"
    images: tuple[bytes, ...] = ()
    files: tuple[LocalImage, ...] = ()
    aspect_ratio: str = "1:1"
    credits: float = 4.0
    took_s: float = 20.0
    error: tuple[str, str] = ("", "")


def make_run(folder: Path, rows: Iterable[Row], provider: str = "evolink@api.evolink.ai") -> None:
    """Make these rows the manifest of a folder, and bring each to its end."""
    (folder / IMAGE_FOLDER).mkdir(parents=True, exist_ok=True)
    listed, problems = list(rows), ProblemLog()
    store = Store(folder / STATE_NAME)
    names = dict.fromkeys(name for row in listed for name in row.variables)
    with Roster(derive_id, fold_id) as roster:
        roster.add_all(map(_draft, listed), problems)
        problems.raise_if_any()
        store.take_manifest(Taken(roster, folder.name, tuple(names)))
    told = (fact for number, row in enumerate(listed, 1) for fact in _facts(folder, number, row, provider))
    while some := list(islice(told, _AT_ONCE)):
        store.apply(some)
    store.close()


def _draft(row: Row) -> Draft:
    request = Request(
        row.model,
        row.prompt,
        row.aspect_ratio,
        "1K",
        images=tuple(file.name for file in row.files),
        files=row.files,
    )
    return Draft(f"test:{row.id}", request, row.id, variables=tuple(row.variables.items()))


def _facts(folder: Path, number: int, row: Row, provider: str) -> Iterator[facts.Fact]:
    if row.end == "pending":
        return
    at = _BEGAN + number * 1.5
    yield facts.Intent(number, number, 1, row.id, provider, "me", b"{}", "f", f"key-{number}", at)
    yield facts.Accepted(number, TaskMade(f"task-{number}", "req", row.credits, 20.0), at + 1)
    if row.end in ("failed", "refused"):
        refused = row.end == "refused"
        code, message = row.error
        code = code or ("content_policy_violation" if refused else "service_error")
        message = message or ("The prompt was refused by the provider." if refused else "The model was busy.")
        yield facts.Failed(number, code, message, not refused, refused, at + row.took_s)
        return
    links = tuple(f"https://x/{number}/{n}" for n, _ in enumerate(row.images))
    if row.end == "expired":
        yield facts.Ready(number, ("https://x/1",), at + 99, row.credits, at + row.took_s)
        yield facts.Expired(number, "the links have died", at + 100)
        return
    yield facts.Ready(
        number,
        links,
        at + 86400,
        row.credits,
        at + row.took_s,
        len(row.images),
        tuple(f"{row.id}-{count}" for count in range(2, len(row.images) + 1)),
    )
    for count, data in enumerate(row.images, 1):
        name = f"{IMAGE_FOLDER}/{row.id}{f'-{count}' if count > 1 else ''}.{_ending(data)}"
        (folder / name).write_bytes(data)
        mtime = (folder / name).stat().st_mtime
        with Pillow.open(io.BytesIO(data)) as opened:
            size = opened.size
        saved = Image(name, _TYPES[_ending(data)], *size, len(data), hashlib.sha256(data).hexdigest(), mtime)
        yield facts.Saved(number, saved, at + row.took_s + 1, count, count == len(row.images))


_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}


def _ending(data: bytes) -> str:
    return "png" if data[:4] == b"\x89PNG" else "webp" if data[:4] == b"RIFF" else "jpg"


def scene(seed: int, style: str = "photo", size: tuple[int, int] = (512, 512), kind: str = "JPEG") -> bytes:
    """Hills under a sky, with grain as a photograph has it: about as large as a real image of that size."""
    draw_random = random.Random(seed)
    width, height = size
    hue = draw_random.randrange(360)
    tones = {"ink": (0, 6), "photo": (45, 70), "watercolour": (35, 88), "neon": (95, 45)}.get(style, (55, 65))
    sky = Pillow.linear_gradient("L").resize(size)
    high = _colour(hue, tones[0], tones[1] + 18)
    low = _colour(hue + 50, tones[0], tones[1] - 10)
    image = Pillow.composite(Pillow.new("RGB", size, low), Pillow.new("RGB", size, high), sky)
    draw = ImageDraw.Draw(image)
    x, y, r = draw_random.uniform(0.2, 0.8) * width, draw_random.uniform(0.15, 0.4) * height, width * 0.09
    draw.ellipse((x - r, y - r, x + r, y + r), fill=_colour(hue + 180, tones[0], 92))
    for layer in range(4):
        base = height * (0.5 + 0.12 * layer)
        phase, wave = draw_random.uniform(0, 6), draw_random.uniform(1.5, 4)
        points = [
            (at * width / 40, base + math.sin(at * wave / 12 + phase) * height * 0.07) for at in range(41)
        ]
        shade = _colour(hue + 25 * layer, tones[0], max(8, tones[1] - 14 * layer - 8))
        draw.polygon([(0, height), *points, (width, height)], fill=shade)
    if style == "watercolour":
        image = image.filter(ImageFilter.GaussianBlur(width / 90))
    grain = Pillow.frombytes("L", size, draw_random.randbytes(width * height)).convert("RGB")
    image = Pillow.blend(image, grain, 0.06)
    out = io.BytesIO()
    image.save(out, kind, quality=90)
    return out.getvalue()


def _colour(hue: float, saturation: int, light: int) -> str:
    return f"hsl({hue % 360}, {saturation}%, {max(4, min(96, light))}%)"


def local_image(path: Path) -> LocalImage:
    """A reference picture as a manifest has it."""
    data = path.read_bytes()
    return LocalImage(path.name, str(path), hashlib.sha256(data).hexdigest(), len(data), "image/jpeg")


def showcase(count: int, prompts: list[str], draw: Callable[[int, str], bytes] = scene) -> Iterator[Row]:
    """Rows as a benchmark has them: prompts by styles and models, some refused, some failed."""
    styles, cities = ("photo", "ink", "watercolour", "neon"), ("Tokyo", "Lagos", "Lima", "Oslo", "Hanoi")
    luck = random.Random(7)
    for number in range(count):
        style = styles[number % len(styles)]
        city = cities[number // len(styles) % len(cities)]
        model = MODELS[number // (len(styles) * len(cities)) % len(MODELS)]
        prompt = prompts[number // (len(styles) * len(cities) * len(MODELS)) % len(prompts)]
        draw_of = luck.random()
        end = "refused" if draw_of < 0.02 else "failed" if draw_of < 0.032 else "saved"
        yield Row(
            id=f"{city.lower()}-{style}-{number:05d}",
            prompt=f"{prompt}, {city}, in the manner of {style}",
            variables={"style": style, "city": city},
            model=model,
            end=end,
            images=(draw(number, style),) if end == "saved" else (),
            credits=4.0 if end == "saved" else (0.0 if end == "failed" else 4.0),
            took_s=8 + luck.expovariate(1 / 12),
        )

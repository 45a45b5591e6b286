"""A contact sheet: pictures with their prompts below, on pages of one size; PDF, or PNG by the page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING

from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.format import Takes
from nanobanana_batch.exports.leaving_out import LeftOut, Why
from nanobanana_batch.exports.lettering import font_for, wrapped
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.pdf import Pdf
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.samples import Samples, read_picture
from nanobanana_batch.visible import visible_line

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageDraw

_WIDTH, _HEIGHT, _DPI = 1240, 1754, 150
"""A4."""
_MARGIN, _GAP, _FOOT = 50, 20, 50
_COLUMNS, _ROWS = 4, 5
_PER_PAGE = _COLUMNS * _ROWS
_CELL_WIDTH = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * _GAP) // _COLUMNS
_CELL_HEIGHT = (_HEIGHT - 2 * _MARGIN - _FOOT - (_ROWS - 1) * _GAP) // _ROWS
_LETTERS, _LINE, _LINES = 14, 18, 4
_PICTURE_HEIGHT = _CELL_HEIGHT - _LINE * (_LINES + 1) - 6
_PAPER, _INK, _FAINT = (255, 255, 255), (24, 24, 28), (120, 120, 128)
_QUALITY = 88
_FORMATS = ("PNG", "JPEG", "WEBP")
"""What a run saves; Pillow reads formats that start programs."""


class Sheet:
    """To look at, and to print."""

    takes = Takes.PICTURES
    is_file = True
    uses = frozenset[str]()

    def check(self, options: Options) -> None:
        """The ending says what it becomes."""
        if _ending(options.out) not in (".pdf", ".png"):
            raise UsageError("--format sheet makes a PDF or a PNG: --out has to end with .pdf or .png.")

    def write(self, samples: Samples, place: Place, options: Options) -> None:
        """Page by page; a PNG has one, and further ones are called `<name>-2.png` and so on."""
        count = -(-len(samples) // _PER_PAGE)
        pages = _pages(samples, count)
        if _ending(options.out) == ".png":
            for number, page in enumerate(pages, 1):
                with place.file(_name_of_page(place.name, number)) as file:
                    page.save(file, "PNG")
            return
        with place.file(place.name) as file:
            pdf = Pdf(file, _DPI)
            for page in pages:
                data = io.BytesIO()
                page.save(data, "JPEG", quality=_QUALITY)
                pdf.add(data.getvalue(), _WIDTH, _HEIGHT)
            pdf.end()


def _ending(name: str) -> str:
    return PurePath(name).suffix.lower()


def _name_of_page(name: str, number: int) -> str:
    path = PurePath(name)
    return name if number == 1 else f"{path.stem}-{number}{path.suffix}"


def _pages(samples: Samples, count: int) -> Iterator[PIL.Image.Image]:
    from PIL import Image, ImageDraw

    rest = iter(samples)
    for number in range(1, count + 1):
        page = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
        draw = ImageDraw.Draw(page)
        for place, sample in enumerate(islice(rest, _PER_PAGE)):
            row, column = divmod(place, _COLUMNS)
            left = _MARGIN + column * (_CELL_WIDTH + _GAP)
            top = _MARGIN + row * (_CELL_HEIGHT + _GAP)
            with samples.written(sample):
                picture = _small(sample)
                beside = (_CELL_WIDTH - picture.width) // 2
                page.paste(picture, (left + beside, top + _PICTURE_HEIGHT - picture.height))
                _write_caption(draw, sample, left, top + _PICTURE_HEIGHT + 6)
        foot = f"{number} / {count}"
        draw.text((_WIDTH - _MARGIN, _HEIGHT - _MARGIN), foot, _FAINT, font_for(foot, _LETTERS), anchor="rs")
        yield page


def _write_caption(draw: PIL.ImageDraw.ImageDraw, sample: Sample, left: int, top: int) -> None:
    name, prompt = visible_line(sample.entry.id), visible_line(sample.prompt)
    for line in wrapped(name, _LETTERS, _CELL_WIDTH, 1):
        draw.text((left, top), line, _INK, font_for(name, _LETTERS))
    for number, line in enumerate(wrapped(prompt, _LETTERS, _CELL_WIDTH, _LINES), 1):
        draw.text((left, top + number * _LINE), line, _FAINT, font_for(prompt, _LETTERS))


def _small(sample: Sample) -> PIL.Image.Image:
    """The picture as it is to be seen: turned as its file says, on white, eight bits a channel."""
    from PIL import Image, ImageOps

    data = read_picture(sample.picture)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            picture.draft("RGB", (2 * _CELL_WIDTH, 2 * _PICTURE_HEIGHT))
            turned = ImageOps.exif_transpose(picture)
            if turned.mode.startswith("I"):
                turned = turned.convert("I").point(lambda value: value / 256).convert("L")
            clear = turned.convert("RGBA")
            clear.thumbnail((_CELL_WIDTH, _PICTURE_HEIGHT))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LeftOut(Why.UNFIT) from error
    small = Image.new("RGB", clear.size, _PAPER)
    small.paste(clear, mask=clear.getchannel("A"))
    return small

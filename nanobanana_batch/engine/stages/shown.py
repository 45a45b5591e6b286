"""Which images a finished task has, as its reads show them: a list is a list, and each of it is paid for.

A link may be another one at each read. So one that is known stays with its image, as does one that only its
query tells from a known one. The others go to the images that have none of the shown ones, in their order:
that is a guess, which the content of what is saved already has to bear out. What is left are further images.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

from nanobanana_batch.engine.stems import Stems
from nanobanana_batch.engine.work import Work
from nanobanana_batch.state import facts
from nanobanana_batch.state.open_attempts import OwedImage


def show(stems: Stems, work: Work, links: tuple[str, ...], lifetime_s: float) -> None:
    """Note what a read shows of a task's images: new links first, then those that are known."""
    dies_at = work.accepted_at + lifetime_s
    work.is_shown = True
    known = {link for image in work.images for link in image.links}
    others = [image for image in work.images if not set(links).intersection(image.links)]
    left = _told_by_place(work.images, others, links, [link for link in links if link not in known])
    for image in work.images:
        image.others = tuple(left) if image in others else ()
    in_order = iter(others)
    for link in left:
        if (image := next(in_order, None)) is None:  # type: ignore[assignment]
            number = len(work.images) + 1
            stem = work.stem if number == 1 else stems.further(work, number)
            image = OwedImage(number, stem)
            work.images.append(image)
        image.links = (link, *image.links)
    for image in work.images:
        image.links = tuple(sorted(image.links, key=work.dead_links.__contains__))
        image.dies_at = dies_at


def _told_by_place(
    images: list[OwedImage], others: list[OwedImage], links: tuple[str, ...], new: list[str]
) -> list[str]:
    """Give links to those images whose they are beyond doubt, and take these out; what is left."""
    shown = Counter(_place(link) for link in links)
    left: list[str] = []
    for link in new:
        place = _place(link)
        owners = [image for image in images if place in map(_place, image.links)]
        if place and shown[place] == 1 and len(owners) == 1 and owners[0] in others:
            owners[0].links = (link, *owners[0].links)
            others.remove(owners[0])
        else:
            left.append(link)
    return left


def _place(link: str) -> str:
    """What stays when a link is signed anew."""
    try:
        parts = urlsplit(link)
        return f"{parts.hostname}{parts.path}"
    except ValueError:
        return ""


def ready(work: Work, credits_used: float | None, at: float) -> facts.Ready:
    """The fact that it is known since `at` (Unix seconds) where the images are to be had."""
    return facts.Ready(
        work.attempt,
        tuple(next(iter(image.links), "") for image in work.images),
        work.images[0].dies_at,
        credits_used,
        at,
        len(work.images),
        tuple(image.stem for image in work.images[1:]),
    )

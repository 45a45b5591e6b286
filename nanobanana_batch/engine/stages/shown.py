"""Which images a finished task has, as its reads show them: a list is a list, and each of it is paid for.

A link may be another one at each read. So one that is known stays with its image, and the others go to the
images that have none of the shown ones, in their order; what is left then are further images.
"""

from __future__ import annotations

from nanobanana_batch.engine.stems import Stems
from nanobanana_batch.engine.work import Work
from nanobanana_batch.state import facts
from nanobanana_batch.state.open_attempts import OwedImage


def show(stems: Stems, work: Work, links: tuple[str, ...], lifetime_s: float) -> None:
    """Note what a read shows of a task's images: new links first, then those that are known."""
    dies_at = work.accepted_at + lifetime_s
    known = {link for image in work.images for link in image.links}
    others = iter([image for image in work.images if not set(links).intersection(image.links)])
    for link in links:
        if link in known:
            continue
        if (image := next(others, None)) is None:
            number = len(work.images) + 1
            stem = work.stem if number == 1 else stems.further(work, number)
            image = OwedImage(number, stem)
            work.images.append(image)
        image.links = (link, *image.links)
    for image in work.images:
        image.links = tuple(sorted(image.links, key=work.dead_links.__contains__))
        image.dies_at = dies_at


def ready(work: Work, credits_used: float | None, at: float) -> facts.Ready:
    """The fact that it is known where the images are to be had."""
    return facts.Ready(
        work.attempt,
        tuple(next(iter(image.links), "") for image in work.images),
        work.images[0].dies_at,
        credits_used,
        at,
        len(work.images),
        tuple(image.stem for image in work.images[1:]),
    )

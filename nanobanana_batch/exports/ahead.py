"""Pictures are read, compared and drawn anew on all processors, and come out in their order.

A few are on their way at a time, so memory does not grow with their number.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from nanobanana_batch.exports.sample import Sample

T = TypeVar("T")
_MOST_WORKERS = 8


def ahead(
    samples: Iterable[Sample], prepare: Callable[[Sample], T]
) -> Iterator[tuple[Sample, Callable[[], T]]]:
    """Each sample with what gives what was prepared of it, or raises what preparing it has raised."""
    workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    waiting: deque[tuple[Sample, Future[T]]] = deque()
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        # Pillow warns of large pictures and odd metadata; what matters is whether it can decode.
        warnings.simplefilter("ignore")
        try:
            for sample in samples:
                waiting.append((sample, pool.submit(prepare, sample)))
                if len(waiting) > workers:
                    first, future = waiting.popleft()
                    yield first, future.result
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result
        finally:
            for _, future in waiting:
                future.cancel()

"""Check output folders, and read images: what the commands do, for a program."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch import defaults
from nanobanana_batch.api.options import AnyPath
from nanobanana_batch.api.values import count, several_folders, several_texts
from nanobanana_batch.errors import UsageError

if TYPE_CHECKING:
    from nanobanana_batch.checks.check import Watch
    from nanobanana_batch.checks.report import Checked

_NEEDED = ("imagehash", "PIL", "numpy", "scipy", "pywt")


def check(
    folders: AnyPath | Iterable[AnyPath],
    *,
    near: int = defaults.NEAR_BITS,
    score: str | Iterable[str] = (),
    progress: AbstractContextManager[Watch | None] | None = None,
) -> Checked:
    """Look at every image of output folders, and write what is found to checks.csv in each of them.

    `folders`: one, or several that are looked at as one. `near`: how many of 64 bits may differ between
    images that are nearly the same. `score`: functions of yours as `module:function`, which get an image and
    its row and return a number, or numbers by name. `progress`: who is told how far it is. What an earlier
    check knows of a file that has not changed is not read again.

    Something found is no error: see `Checked.findings`.

    Raises:
        UsageError: one is no output folder, a function cannot be imported, or ImageHash is not installed.
        StateFailed: a state is gone or damaged.
        DiskFailed: checks.csv cannot be written.
    """
    near = count("near", near, least=0)
    if near > defaults.MOST_NEAR_BITS:
        raise UsageError(f"near: at most {defaults.MOST_NEAR_BITS} bits; strangers differ in few more.")
    try:
        from nanobanana_batch.checks import check as job
        from nanobanana_batch.checks import scores
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise UsageError(
            f"A check needs {error.name}, which is not installed.",
            hint="`python -m pip install 'nanobanana-batch[check]'` does that.",
        ) from error
    paths = several_folders(folders)
    scorers = scores.load(several_texts(score))
    with progress or nullcontext() as watch:
        return job.check(paths, near, scorers, watch)


def from_image(files: AnyPath | Iterable[AnyPath]) -> list[dict[str, object]]:
    """The rows that image files were made for, as `export(embed_metadata=True)` has written it into them.

    Each row once, as a dict that `plan` and `run` take; their row keys are those of the images.

    Raises:
        UsageError: a file cannot be read, or says nothing of a row; all of them are listed.
    """
    from nanobanana_batch.provenance.files import records_of
    from nanobanana_batch.provenance.rows import row_of

    paths = [Path(files)] if isinstance(files, str | PathLike) else [Path(each) for each in files]
    return [row_of(record) for record in records_of(paths).records]

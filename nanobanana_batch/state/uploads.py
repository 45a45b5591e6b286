"""Which of our files the provider holds, and which of those nobody needs any more.

What is asked here is only ever about files that this folder has uploaded under this account.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nanobanana_batch.state.lifecycle import UNANSWERED, Phase, in_sql


@dataclass(frozen=True, slots=True)
class Upload:
    """A file at the provider, which deletes it at `expires_at` (Unix seconds)."""

    upload: int
    sha256: str
    file_id: str
    url: str
    expires_at: float


_COLUMNS = "upload, sha256, file_id, url, expires_at"
# Of a file that lives shortly half of its life has to do: else it would be uploaded for every row anew.
_CURRENT = f"""
SELECT {_COLUMNS} FROM uploads
WHERE provider = ? AND account = ? AND sha256 = ? AND deleted_at IS NULL AND missed_at IS NULL
  AND expires_at - ? > min(?, (expires_at - uploaded_at) / 2) AND uploaded_at <= ?
ORDER BY expires_at DESC
"""
_UNDATED = """
SELECT upload FROM (
    SELECT upload, uploaded_at,
           min(uploaded_at) OVER (ORDER BY upload DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
               AS later_one
    FROM uploads
) WHERE uploaded_at > later_one + ?
"""
_APART_S = 60.0
"""So far two clocks may be from each other without one of them being wrong."""
_NEEDED = f"""
SELECT upload FROM attempts JOIN attempt_uploads ON attempt_uploads.attempt = attempts.request
WHERE attempts.phase != '{Phase.SAVED}' AND attempts.phase IN ({{phases}})
"""
_UNNEEDED = f"""
SELECT {_COLUMNS} FROM uploads
WHERE provider = ? AND account = ? AND deleted_at IS NULL AND expires_at > ?
  AND upload NOT IN ({_NEEDED.format(phases=in_sql(UNANSWERED | {Phase.ACCEPTED}))})
ORDER BY uploaded_at, upload
"""
_AWAITED = f"""
SELECT count(*) FROM uploads WHERE provider = ? AND account = ? AND deleted_at IS NULL
  AND upload IN ({_NEEDED.format(phases=in_sql({Phase.ACCEPTED}))})
"""


class Uploads:
    """Questions about uploads of one provider and account."""

    def __init__(self, read: Callable[..., list[Any]], provider: str, account: str) -> None:
        self._read = read
        self._whose = (provider, account)
        self._undated = frozenset(upload for (upload,) in read(_UNDATED, _APART_S))
        self._last = int(read("SELECT coalesce(max(upload), 0) FROM uploads")[0][0])

    def next_number(self) -> int:
        """A number for a new upload; its fact makes it real."""
        self._last += 1
        return self._last

    def current(self, sha256: str, now: float, for_s: float) -> Upload | None:
        """The file with this content, if it lives for that much longer, so that it can be used once more.

        One that was uploaded in the future, or long after later ones, was dated by a clock that was wrong:
        nobody knows how long it lives.
        """
        found = self._read(_CURRENT, *self._whose, sha256, now, for_s, now + _APART_S)
        return next((Upload(*one) for one in found if one[0] not in self._undated), None)

    def unneeded(self, now: float) -> list[Upload]:
        """Files that no unfinished attempt needs at `now` (Unix seconds), oldest first."""
        return [Upload(*found) for found in self._read(_UNNEEDED, *self._whose, now)]

    def awaited(self) -> int:
        """How many files running tasks still need."""
        return int(self._read(_AWAITED, *self._whose)[0][0])

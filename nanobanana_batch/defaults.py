"""What holds where a person says nothing: the same on the command line and from Python. Times in seconds."""

from __future__ import annotations

PROVIDER = "evolink"
CONCURRENCY = 64
SUBMIT_CONCURRENCY = 8
MAX_ATTEMPTS = 3
MAX_OUTAGE_S = 8 * 3600.0
FIRST_CONTACT_S = 600.0
"""The same for a provider that has never answered in a run, where no `max_outage` was given."""
STUCK_AFTER_S = 1800.0
ON_UNKNOWN = "hold"
ON_DAILY_QUOTA = "wait"
PLANNED_ROWS = 10
NEAR_BITS = 6
"""Of a fingerprint of 64: another compression or size moves fewer, a crop of 1 % up to twice as many."""
MOST_NEAR_BITS = 16
"""Half of the bits of two strangers differ, a quarter hardly ever."""

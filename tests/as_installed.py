"""The program as a person has it: libraries that only the tools of the tests bring are not there.

httpx and httpcore load what they find of them, and each of hundreds of processes would pay for that.
"""

from __future__ import annotations

NOT_THERE = "import sys; sys.modules.update(trio=None, pygments=None)"
MAIN = f"{NOT_THERE}; from nanobanana_batch.cli import main; main()"
"""For `python -c`."""

"""What a run would do, said before any money is spent; sends nothing, and leaves the folder as it is."""

from nanobanana_batch.jobs.plan.plan import (
    FirstRow,
    Group,
    Plan,
    PlannedPicture,
    PlannedPilot,
    PlannedUploads,
    make_plan,
)
from nanobanana_batch.jobs.plan.rows import PlannedRequest, PlannedRow, find_request, find_row
from nanobanana_batch.jobs.plan.survey import Terms

__all__ = [
    "FirstRow",
    "Group",
    "Plan",
    "PlannedPicture",
    "PlannedPilot",
    "PlannedRequest",
    "PlannedRow",
    "PlannedUploads",
    "Terms",
    "find_request",
    "find_row",
    "make_plan",
]

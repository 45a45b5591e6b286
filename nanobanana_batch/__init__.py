"""Images in bulk with the Nanobanana image API: resumable, no row paid for twice, nothing paid for lost.

    import nanobanana_batch as nb

    plan = nb.plan("skylines.yaml", provider="local")     # what it would make and cost; sends nothing
    outcome = nb.run("skylines.yaml", provider="local")   # makes it; call it again to go on
    with nb.open_run(outcome.folder) as run:
        for row in run.rows():
            print(row.id, row.status, row.image)

What is in `__all__` is public; everything else may change without a word. docs/python.md says more.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nanobanana_batch.api.checking import check, from_image
    from nanobanana_batch.api.driving import Interrupted
    from nanobanana_batch.api.exporting import export
    from nanobanana_batch.api.folder import Row, RunFolder, open_run
    from nanobanana_batch.api.gallery import gallery
    from nanobanana_batch.api.making import audit, plan, retry, run, run_async
    from nanobanana_batch.api.merging import merge
    from nanobanana_batch.api.options import AuditOptions, ExportOptions, RetryOptions, RunOptions
    from nanobanana_batch.api.report import report
    from nanobanana_batch.checks.report import Checked
    from nanobanana_batch.errors import (
        BadSurroundings,
        DiskFailed,
        FolderInUse,
        FolderRefused,
        ImageRejected,
        KeyProblem,
        ManifestError,
        NanobananaError,
        Problem,
        ProfileError,
        RunStopped,
        ServiceFailed,
        StateFailed,
        TooManyRows,
        UsageError,
    )
    from nanobanana_batch.exports.export import Exported
    from nanobanana_batch.galleries.build import GalleryMade
    from nanobanana_batch.jobs.audit import Audit
    from nanobanana_batch.jobs.merge import Merged
    from nanobanana_batch.jobs.outcome import Outcome
    from nanobanana_batch.jobs.plan import Plan
    from nanobanana_batch.live.snapshot import Live
    from nanobanana_batch.model import Request, RowStatus
    from nanobanana_batch.reports.value import Report
    from nanobanana_batch.results import Standing

__all__ = [
    "Audit",
    "AuditOptions",
    "BadSurroundings",
    "Checked",
    "DiskFailed",
    "ExportOptions",
    "Exported",
    "FolderInUse",
    "FolderRefused",
    "GalleryMade",
    "ImageRejected",
    "Interrupted",
    "KeyProblem",
    "Live",
    "ManifestError",
    "Merged",
    "NanobananaError",
    "Outcome",
    "Plan",
    "Problem",
    "ProfileError",
    "Report",
    "Request",
    "RetryOptions",
    "Row",
    "RowStatus",
    "RunFolder",
    "RunOptions",
    "RunStopped",
    "ServiceFailed",
    "Standing",
    "StateFailed",
    "TooManyRows",
    "UsageError",
    "audit",
    "check",
    "export",
    "from_image",
    "gallery",
    "merge",
    "open_run",
    "plan",
    "report",
    "retry",
    "run",
    "run_async",
]

_HOMES = {
    "api.checking": ("check", "from_image"),
    "checks.report": ("Checked",),
    "api.driving": ("Interrupted",),
    "api.exporting": ("export",),
    "api.folder": ("Row", "RunFolder", "open_run"),
    "api.gallery": ("gallery",),
    "api.making": ("audit", "plan", "retry", "run", "run_async"),
    "api.merging": ("merge",),
    "api.options": ("AuditOptions", "ExportOptions", "RetryOptions", "RunOptions"),
    "exports.export": ("Exported",),
    "api.report": ("report",),
    "galleries.build": ("GalleryMade",),
    "jobs.audit": ("Audit",),
    "jobs.merge": ("Merged",),
    "jobs.outcome": ("Outcome",),
    "jobs.plan": ("Plan",),
    "live.snapshot": ("Live",),
    "model": ("Request", "RowStatus"),
    "reports.value": ("Report",),
    "results": ("Standing",),
}
"""Where each is; all others are errors. Nothing is imported before it is asked for."""

if not TYPE_CHECKING:  # else any name would be one for a type checker

    def __getattr__(name):
        """The public name, from the file that defines it; from then on it is here."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        home = next((home for home, names in _HOMES.items() if name in names), "errors")
        found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return found

    def __dir__():
        """The public names first of all; others are there, too."""
        return sorted({*globals(), *__all__})

"""From a file to validated rows, lazily; nothing here sends anything or needs a provider.

`open_manifest` finds all that is wrong with the form at once, `Manifest.drafts` all that is wrong with rows.
"""

from nanobanana_batch.catalog import TRUE
from nanobanana_batch.manifest.form.block import Picked
from nanobanana_batch.manifest.load import Beside, Manifest, open_manifest
from nanobanana_batch.manifest.rows.remarks import Skipped, SkippedRow
from nanobanana_batch.manifest.words.ids import derive_id, fold_id
from nanobanana_batch.manifest.words.names import one_slip

__all__ = [
    "TRUE",
    "Beside",
    "Manifest",
    "Picked",
    "Skipped",
    "SkippedRow",
    "derive_id",
    "fold_id",
    "one_slip",
    "open_manifest",
]

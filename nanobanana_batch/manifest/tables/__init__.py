"""Tables of every kind, behind one small protocol: read row by row, never whole, as often as needed.

A damaged row costs that row and nothing else.
"""

from nanobanana_batch.manifest.tables.opening import ENDINGS, KINDS, kind_of, open_table
from nanobanana_batch.manifest.tables.table import Header, Table

__all__ = ["ENDINGS", "KINDS", "Header", "Table", "kind_of", "open_table"]

"""Tables of every kind, behind one small protocol: read row by row, never whole, as often as needed.

A damaged row costs that row and nothing else.
"""

from nanobanana_batch.manifest.tables.opening import ENDINGS, KINDS, export_hint, kind_of, open_table
from nanobanana_batch.manifest.tables.table import Header, Table
from nanobanana_batch.manifest.tables.text import TextTable

__all__ = ["ENDINGS", "KINDS", "Header", "Table", "TextTable", "export_hint", "kind_of", "open_table"]

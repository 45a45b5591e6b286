"""One row after the other: its templates written out, its values checked, its request settled."""

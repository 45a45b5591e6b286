"""Pages that show what output folders hold; they open from disk, without a server or a network."""

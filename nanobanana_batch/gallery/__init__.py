"""A page that shows what output folders hold; it opens from disk, without a server or a network."""

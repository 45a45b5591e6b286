"""A page that shows what output folders hold: built by Python, opened from disk, without a server or a network."""

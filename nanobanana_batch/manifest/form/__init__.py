"""From nodes to blocks: all that can be wrong with the form of a manifest is found, at once."""

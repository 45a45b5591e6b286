"""From bytes to nodes, lines and cells, whatever the kind of the file; here nothing knows what a block is."""

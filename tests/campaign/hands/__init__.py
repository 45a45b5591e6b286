"""What people do between runs: to folders, manifests, states, keys and clocks; and who judges it."""

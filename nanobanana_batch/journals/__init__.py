"""What was sent and paid, told in a place that survives the machine: see `docs/far.md`."""

"""Whether the pictures of a run are any good: what a program can see of them, written to checks.csv."""

"""Figures, taken by hand: `make bench`. Speed is no matter of the test suite."""

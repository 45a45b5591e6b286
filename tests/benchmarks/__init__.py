"""Benchmarks work: their small forms give figures that are not nonsense. Speed is no matter here."""

"""What Python code may do with this package; the command line does it by the same functions."""

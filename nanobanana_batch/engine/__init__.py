"""Drives rows through submit, wait and download; knows no provider, no HTTP and no SQL."""

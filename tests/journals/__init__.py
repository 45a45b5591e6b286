"""Journals that survive a machine."""

"""Attacks, told as who tries what; each promise of docs/security.md has its test here."""

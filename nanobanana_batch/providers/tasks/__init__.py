"""Providers that make a task of a request: one API, spoken in the words of a profile."""

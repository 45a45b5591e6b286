"""Shards of a run as tasks of a Ray cluster. Only this room imports ray, and only where it is used."""

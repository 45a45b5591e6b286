"""SQLite state of one output folder: schema, facts, the one writer, and readers for people."""

"""The gallery: what is built, and what a browser makes of it."""

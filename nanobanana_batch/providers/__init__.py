"""Providers of the image API: what the engine may ask of one, and the one family that there is today."""

"""Where an image comes from, written into the file itself, and read back as a row of a manifest.

Pixels are never touched: parts are put into the file beside those that are there, byte by byte as they were.
Pillow would encode anew; what inserts without that (piexif) knows only EXIF, or (exiv2) writes XMP of its own
making over what was there.
"""

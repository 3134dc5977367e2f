"""A file of a picture to pixels: kinds of file, depth, bands, the square, changed copies.

May import: records and storage.
Must not know: labels, classes and where files come from.
"""

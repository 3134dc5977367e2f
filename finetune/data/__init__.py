"""A folder of images to checked, labelled, decoded pictures and disjoint splits.

May import: records and storage.
Must not know: networks, strategies and runs.
"""

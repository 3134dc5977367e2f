"""Labelled paths to a checked data set: checks, near duplicates, groups, disjoint splits.

May import: records, storage, pictures and sources.
Must not know: networks, strategies and runs.
"""

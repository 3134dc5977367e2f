"""A run's result as one page that needs no network.

May import: records.
Must not know: how any figure was found.
"""

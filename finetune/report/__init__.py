"""A run's result as one page that needs no network.

May import: records, metrics, and the thresholds of analysis.
Must not know: how any figure was found.
"""

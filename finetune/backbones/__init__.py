"""Networks cut in stages, their weights, and the fastest exact way to their features.

May import: records, storage, pictures and data.
Must not know: labels, strategies and runs.
"""

"""What the data says: features, probes of each stage, size and similarity.

May import: records, storage, metrics, heads, data, backbones and runs.
Must not know: what will be done about it.
"""

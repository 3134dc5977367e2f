"""Plans with a reason for every setting, and the loop that carries one out.

May import: records, storage, heads, data, backbones and runs.
Must not know: why a strategy was chosen.
"""

"""What is given, to labelled paths: folders, tables, archives, shards; what is wrong with it.

May import: records, storage and pictures.
Must not know: splits, networks and runs.
"""

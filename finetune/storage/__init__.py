"""Files that are whole or absent, arrays larger than memory, the cache, untrusted files.

May import: records.
Must not know: what the files and arrays mean.
"""

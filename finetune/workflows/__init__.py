"""The story of each command as a list of calls: records in, a record out.

May import: all rooms below.
Must not know: what a person typed and what is shown.
"""

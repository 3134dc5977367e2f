"""Frozen records by topic, what a listener hears, and the faults a user can cause.

May import: nothing of finetune.
Must not know: how any of them is made, kept or shown.
"""

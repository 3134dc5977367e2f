"""Probabilities and labels to metrics with intervals; two models on the same images.

May import: records.
Must not know: where the probabilities come from.
"""

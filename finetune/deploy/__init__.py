"""Answers of a model, just fitted or read back: the predictor, and the file that needs no torch.

May import: records, storage, heads, data, backbones and runs.
Must not know: how the model came about.
"""

"""Answers from a finished run: the predictor, and the network that needs no torch.

May import: records, storage, heads, data, backbones and runs.
Must not know: how the model came about.
"""

"""Answers from a fitted model or its run: the predictor, and the network without torch.

May import: records, storage, heads, data, backbones and runs.
Must not know: how the model came about.
"""

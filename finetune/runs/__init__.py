"""The folder of a run, written whole or not at all, and a training that may be killed.

May import: records, storage, data and backbones.
Must not know: how a model is chosen or trained.
"""

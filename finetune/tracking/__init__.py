"""Trainings told to trackers: TensorBoard, MLflow, Weights & Biases, Trackio.

May import: records, storage, metrics and deploy.
Must not know: how a model is chosen or trained.
"""

"""Linear classifiers on frozen features: ridge regression, cross-validation, calibration.

May import: records, storage and metrics.
Must not know: images, networks and files of runs.
"""

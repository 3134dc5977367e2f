"""Linear classifiers on frozen features: ridge regression, cross-validation, calibration.

May import: records and storage.
Must not know: images, networks and files of runs.
"""

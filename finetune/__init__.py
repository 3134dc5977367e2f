"""Transfer learning on a folder of images, with the choice of strategy measured and proven."""

__version__ = "0.1.0"

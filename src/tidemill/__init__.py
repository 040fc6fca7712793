"""Tidemill: a stream cut into exact batches, generations of models trained from them, all served live."""

from importlib.metadata import version

__version__ = version("tidemill")

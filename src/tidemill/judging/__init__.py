"""Judging: whether a generation of models is better than another, on the same rows and beyond noise."""

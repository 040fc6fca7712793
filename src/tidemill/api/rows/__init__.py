"""Rows of sealed batches and rejects, read from their files for the API."""

"""Exact batches: where the stream is cut, and how a batch is sealed."""

"""Predictions out: each row of the stream, scored by the champion, in a topic of its own, exactly once."""

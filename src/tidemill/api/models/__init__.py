"""The models being served: which generation is in memory, and how a new one takes its place."""

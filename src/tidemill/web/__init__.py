"""The parts that every HTTP server of a run shares: a socket, limits, the API key."""

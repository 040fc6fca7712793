"""What every HTTP server of a run needs: a socket, limits, the API key."""

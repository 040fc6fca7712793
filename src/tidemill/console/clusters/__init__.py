"""What the console says and draws of clusters."""

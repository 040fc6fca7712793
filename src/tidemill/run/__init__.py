"""A run: its folder, its files, its stages and its catalog."""

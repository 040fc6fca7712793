"""Work across all stages: checks before a run, starting and watching its stages, backups, starting over."""

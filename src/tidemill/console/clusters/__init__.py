"""Sentences, tables and plots of a model's clusters."""

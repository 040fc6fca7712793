"""The routes that a pipeline declares: over a model, or SQL over its rows."""

"""The REST API: every published generation of every model, and the routes that the pipeline declares."""

"""How the console shows verdicts: the rows of its tables and the points of its charts."""

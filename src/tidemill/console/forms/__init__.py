"""Forms and tables: their fields, the requests that they make, and their widgets."""

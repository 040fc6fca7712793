"""Forms: the fields of a request, the request, and its curl line."""

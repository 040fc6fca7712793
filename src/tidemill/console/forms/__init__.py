"""The forms of the page Try it: fields, requests and their widgets."""

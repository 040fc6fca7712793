"""The ``tidemill`` command and what it shows on a terminal."""

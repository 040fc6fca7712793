"""The ``tidemill`` command: its options, its commands, and what it shows on a terminal."""

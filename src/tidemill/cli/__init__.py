"""The ``tidemill`` command: its options, its commands, and its output on a terminal."""

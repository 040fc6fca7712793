"""``python -m tidemill``: the same program as the ``tidemill`` command."""

from tidemill.cli.main import main

main()

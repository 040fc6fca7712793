"""Class-data archives: a machine's first run leads to them, and all later ones start with them."""

from __future__ import annotations

import os
from collections.abc import Callable

from bench.support.waiting import wait_for
from tidemill.class_archives import VARIABLE
from tidemill.java import find_java
from tidemill.training.driver import archive_of

MAKING_SECONDS = 300.0


def with_archives(first_run: Callable[[], object]) -> None:
    """Have Spark's archive made by a run that does not count, if there is none, and wait for it. Does nothing where
    archives are switched off."""
    if os.environ.get(VARIABLE, "on") != "on" or there():
        return
    first_run()
    wait_for(there, "the class-data archive", MAKING_SECONDS, every=0.5)


def there() -> bool:
    archive = archive_of(find_java())
    if archive is None or archive.listed is None:  # this machine makes none, or it is there
        return True
    os.unlink(archive.listed)
    return False

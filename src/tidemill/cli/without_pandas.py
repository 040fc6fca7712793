"""Keeps pandas out of processes that do not use it.

pyarrow imports pandas, where that is installed, as soon as it makes an array of a Python list: a quarter of a second of
processor time for each process of a run. Of Tidemill's processes the console alone uses pandas, as Streamlit does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class WithoutPandas(MetaPathFinder):
    """Has pandas look as if it were not installed, which pyarrow and pyspark allow for."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """
        Raises:
            ModuleNotFoundError: the module is pandas.
        """
        if fullname == "pandas":
            raise ModuleNotFoundError("this process does without pandas", name=fullname)


def keep_pandas_out() -> None:
    sys.meta_path.insert(0, WithoutPandas())

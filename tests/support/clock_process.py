"""`dog ARGUMENTS`, with a wall clock and a kernel that the test sets.

The variable TEST_CLOCK names a JSON file, which is read at each call. `days` is the wall clock's difference from the
true one, and `synchronised` the kernel's report.
"""

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import Any

from dog import clock

__all__ = ["CLOCK_PROGRAM"]

CLOCK_PROGRAM = "from tests.support.clock_process import main; main()"

TRUE = clock.utc_now


def _read() -> Any:
    return json.loads(Path(os.environ["TEST_CLOCK"]).read_text())


def _utc_now() -> dt.datetime:
    return TRUE() + dt.timedelta(days=_read()["days"])


def _is_synchronised() -> bool:
    return bool(_read()["synchronised"])


def main() -> None:
    """Set the clock in each module that has imported it, and run dog."""
    for module in [*sys.modules.values()]:
        for name, value in [*vars(module).items()]:
            if value is TRUE and module.__name__.startswith("dog."):
                setattr(module, name, _utc_now)
    clock.is_synchronised = _is_synchronised
    from dog.cli import main

    main()

"""Interrupt dog: `interrupted_process FUNCTION NUMBER ARGUMENTS`.

It has these arguments, and gets the signal NUMBER just before its first call of the function, such as `os.link`.
"""

import importlib
import os
import sys
from typing import Any

from dog.cli import main

if __name__ == "__main__":
    name, number = sys.argv.pop(1), int(sys.argv.pop(1))
    module_name, _, function_name = name.rpartition(".")
    module = importlib.import_module(module_name)
    function = getattr(module, function_name)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), number)
        return function(*arguments, **options)

    setattr(module, function_name, interrupted)
    main(prog_name="dog")

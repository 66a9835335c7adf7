"""Password file of a camera, for a password outside of the settings.

It is read at each opening, so a changed password counts from the next one.
"""

import os
import re
import stat
from pathlib import Path

from dog.errors import short_reason

__all__ = ["read_password"]

MAX_PASSWORD_BYTES = 4096
"""Far more than a password that a person chose."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_password(path: Path) -> str:
    """Return the file's only line. Raises ValueError, which does not quote it."""
    try:
        # Opening a FIFO must not wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path} is not a file. Name one that has the password and nothing else.")
            data = file.read(MAX_PASSWORD_BYTES + 1)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ValueError(
            f"{path} can't be read: {short_reason(error)}. Name a file that has the password and nothing else."
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8. Write the password into it and nothing else.") from None
    if not text:
        raise ValueError(f"{path} is empty. Write the password into it.")
    if len(data) > MAX_PASSWORD_BYTES or _CONTROL.search(text):
        raise ValueError(f"{path} has more than one line. Write the password into it and nothing else.")
    return text

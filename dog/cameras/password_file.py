"""A camera's password in a file of its own, so that it stands on no command line and in no settings.

The file is read anew for each opening: a password that was changed counts from the next one on.
"""

import os
import re
import stat
from pathlib import Path

__all__ = ["read_password"]

MAX_PASSWORD_BYTES = 4096
"""Bytes; no password that a person chose comes near it."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_password(path: Path) -> str:
    """The file's one line, without its end. Raises ValueError, fit to show, which holds nothing of the file."""
    try:
        # Opening a pipe must not wait for somebody to write to it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path} is not a file; name one that has the password and nothing else")
            data = file.read(MAX_PASSWORD_BYTES + 1)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(
            f"{path} can't be read: {reason}; name a file that has the password and nothing else"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8; write the password into it and nothing else") from None
    if not text:
        raise ValueError(f"{path} is empty; write the password into it")
    if len(data) > MAX_PASSWORD_BYTES or _CONTROL.search(text):
        raise ValueError(f"{path} has more than one line; write the password into it and nothing else")
    return text

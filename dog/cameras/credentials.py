"""The password file of a camera.

A password in a file is outside of the settings. It is read at each opening, so a changed one counts from the next.
"""

import re
from pathlib import Path

from dog.errors import short_reason
from dog.files import NotRegularFile, open_regular

__all__ = ["read_password"]

MAX_PASSWORD_FILE_BYTES = 4096
"""Far more than a password that a person chose."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def read_password(path: Path) -> str:
    """Return the file's only line. Raises ValueError, which does not quote it."""
    try:
        with open_regular(path) as file:
            data = file.read(MAX_PASSWORD_FILE_BYTES + 1)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except NotRegularFile:
        raise ValueError(f"{path} is not a file. Name one that has the password and nothing else.") from None
    except OSError as error:
        raise ValueError(
            f"{path} can't be read: {short_reason(error)}. Name a file that has the password and nothing else."
        ) from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8. Write the password into it and nothing else.") from None
    if not text:
        raise ValueError(f"{path} is empty. Write the password into it.")
    if len(data) > MAX_PASSWORD_FILE_BYTES or _CONTROL.search(text):
        raise ValueError(f"{path} has more than one line. Write the password into it and nothing else.")
    return text

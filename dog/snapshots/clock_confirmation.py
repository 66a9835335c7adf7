"""Files by which a person confirms the clock of a running server.

    <folder>/.dog/clock-in-doubt     the doubt, while there is one: the clock's time and the expected time
    <folder>/.dog/clock-confirmed    the same file, renamed by a command; the server removes it

A confirmation names the doubt that it is for, so that it does not confirm a later one. Everything here blocks.
"""

import contextlib
import os
from pathlib import Path

import msgspec

from dog.clock import Doubt
from dog.files import remove_file

__all__ = ["DoubtFiles"]


class DoubtFiles:
    """The two files, in an album's private folder. Methods raise OSError."""

    def __init__(self, private: Path) -> None:
        self._doubt = private / "clock-in-doubt"
        self._confirmed = private / "clock-confirmed"
        self._published: Doubt | None = None
        self._is_current = False

    # ---- the server's side

    def write(self, doubt: Doubt | None) -> None:
        """Write or remove the server's doubt. Acknowledge any confirmation."""
        if self._is_current and doubt == self._published:
            return
        if doubt is None:
            remove_file(self._doubt)
        else:
            temp_path = self._doubt.with_name(f"{self._doubt.name}.new")
            temp_path.write_bytes(msgspec.json.encode(doubt))
            os.replace(temp_path, self._doubt)
        remove_file(self._confirmed)
        self._published, self._is_current = doubt, True

    def confirmed(self) -> Doubt | None:
        """Return the doubt that a person confirmed, for `write` to acknowledge."""
        if self._published is None:
            return None
        confirmed = _read(self._confirmed)
        self._is_current = confirmed is None
        return confirmed

    # ---- the command's side

    def read(self) -> Doubt | None:
        """Return the running server's doubt, or None if it trusts its clock."""
        return _read(self._doubt)

    def confirm(self) -> bool:
        """Confirm the running server's clock. Return False if it is not in doubt."""
        try:
            os.rename(self._doubt, self._confirmed)
        except FileNotFoundError:
            return False
        return True

    def is_acknowledged(self) -> bool:
        """Return True if the server has acknowledged the confirmation."""
        return not self._confirmed.exists()


def _read(path: Path) -> Doubt | None:
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Doubt)
    return None

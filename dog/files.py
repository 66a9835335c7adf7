"""Durable and safe file operations.

Every function blocks. Those that write raise OSError, which dog.errors explains.
"""

import contextlib
import errno
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = [
    "NotRegularFile",
    "link_new",
    "make_folders",
    "make_private_folder",
    "open_atomic",
    "open_regular",
    "remove_empty_folders",
    "remove_file",
    "replace_durably",
    "restrict_to_owner",
    "sync_folder",
    "write_atomic",
    "write_synced",
]

log = logging.getLogger(__name__)

_MAX_TEMP_NAME = 60
"""Characters of a file's name in that of its temporary file, which has at most 255 bytes."""
_NO_HARD_LINK_ERRNOS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_FOLDER_SYNC_ERRNOS = (errno.EINVAL, errno.ENOTSUP)
# ---- folders


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner can read, or restrict an existing one."""
    folder.mkdir(mode=0o700, exist_ok=True)
    restrict_to_owner(folder, 0o700)


def restrict_to_owner(path: Path, mode: int) -> None:
    """Remove the permissions of other users, if there are any, and log it.

    Some file systems ignore that, and another user's file can't be changed. The log says so.
    """

    def is_open() -> bool:
        return bool(stat.S_IMODE(path.lstat().st_mode) & 0o077)

    if not is_open():
        return
    with contextlib.suppress(OSError):
        path.chmod(mode)
    if is_open():
        log.warning(
            "Other users can read %s. Its file system does not keep permissions, or another user owns it. Mount the"
            " disk with umask=0077 (SMB: file_mode=0600,dir_mode=0700), or change the owner.",
            path,
        )
    else:
        log.warning("Other users could read %s. Its permissions are now %04o.", path, mode)


def make_folders(root: Path, below: Path) -> None:
    """Make a folder some levels below the root, and sync each new name.

    Raises NotADirectoryError for a symbolic link on the way.
    """
    folder = root
    for part in below.relative_to(root).parts:
        parent, folder = folder, folder / part
        if folder.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "A symbolic link, not a folder", str(folder))
        folder.mkdir(exist_ok=True)
        sync_folder(parent)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder. File systems that can't do that are trusted."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC_ERRNOS:
            raise
    finally:
        os.close(descriptor)


# ---- reading


class NotRegularFile(OSError):
    """A folder, a pipe, a device or a socket is in the place of a file."""


def open_regular(path: Path, *, follow_links: bool = True) -> IO[bytes]:
    """Open a regular file for reading, unbuffered. Raises NotRegularFile."""
    flags = os.O_RDONLY | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW)
    descriptor = os.open(path, flags | os.O_NONBLOCK)  # opening a pipe must not wait for a writer
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFile(errno.EINVAL, "It is not a regular file", str(path))
    return open(descriptor, "rb", buffering=0)


# ---- files that survive a power cut


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and sync it, or leave none. Raises FileExistsError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        remove_file(path)
        raise


def replace_durably(path: Path, data: bytes, *, temp_path: Path) -> None:
    """Replace a file by an atomic rename that survives a crash."""
    remove_file(temp_path)
    write_synced(temp_path, data)
    try:
        os.replace(temp_path, path)
        sync_folder(path.parent)
    except BaseException:
        remove_file(temp_path)
        raise


@contextlib.contextmanager
def open_atomic(path: Path, *, overwrite: bool = False, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """Open a temporary file. At the end, sync it and rename it to `path`.

    With `overwrite`, an existing regular file is replaced, and a symbolic link is followed. Raises FileExistsError if
    anything else has the name.
    """
    if overwrite:
        path = path.resolve()
    if path.exists() and not (overwrite and path.is_file()):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    temp_path = path.with_name(f".{path.name[:_MAX_TEMP_NAME]}.{secrets.token_hex(4)}.part")
    try:
        with open(temp_path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            os.replace(temp_path, path)
        else:
            link_new(temp_path, path)
        sync_folder(path.parent)
    finally:
        remove_file(temp_path)


def write_atomic(path: Path, data: bytes, *, overwrite: bool = False) -> None:
    """Write a whole file as `open_atomic` does."""
    with open_atomic(path, overwrite=overwrite) as file:
        file.write(data)


def link_new(temp_path: Path, path: Path) -> None:
    """Rename without overwriting, by a hard link. Raises FileExistsError.

    File systems without hard links leave a small race. With them, the file keeps `temp_path` too: remove that name.
    """
    try:
        os.link(temp_path, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINK_ERRNOS or path.exists():
            raise
        os.rename(temp_path, path)


# ---- removing


def remove_file(path: Path) -> None:
    """Remove a file, if it exists and can be removed."""
    try:
        os.unlink(path)
    except OSError:
        return


def remove_empty_folders(root: Path, folder: Path) -> None:
    """Remove an empty folder, then its empty parents below the root."""
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent

"""Snapshots: the pictures on disk, their thumbnails and their index. The store alone knows where files lie.

names.py      what a snapshot is, its id, and the path that says it all   nothing
files.py      files that survive a power cut                              errors, trees
lock.py       the folder is this server's alone                           errors
reading.py    pictures read back, the newest few from memory              errors, files
index.py      the SQLite index, which can always be made again            names
archive.py    the folder and its index together; blocking                 all of the above
store.py      SnapshotStore: all of it behind threads of its own          archive, reading
"""

from dog.snapshots.names import ID_PATTERN, Snapshot, is_snapshot_id
from dog.snapshots.reading import SnapshotGone
from dog.snapshots.store import SnapshotStore

__all__ = ["ID_PATTERN", "Snapshot", "SnapshotGone", "SnapshotStore", "is_snapshot_id"]

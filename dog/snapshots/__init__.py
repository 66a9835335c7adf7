"""Snapshots: the pictures on disk, their thumbnails and their index. The store alone knows where files lie.

names.py        what a snapshot is, its id, and the path that says it all   nothing
files.py        files that survive a power cut                              disk, errors, trees
lock.py         the folder is this server's alone                           errors
reading.py      pictures read back, the newest few from memory              errors, files
doubts.py       a doubt of the clock, and its confirmation by a command     files
ledger.py       what is removed, pinned, given away; clocks, wrong dates    names
index.py        the SQLite index, made again but for its ledger             ledger, names
folder.py       what lies in the folder                                     names
reconciling.py  making the index say what the folder says                   folder, index
keeping.py      which snapshots make room for others                        index
timekeeping.py  the time, remembered, and the doubt that it is right        doubts, index
succession.py   an index in the place of another, which it learns from      disk, index
archive.py      the folder and its index together; blocking                 all of the above
store.py        SnapshotStore: all of it behind threads of its own          archive, reading
checking.py     every file held against the index                           lock, reading, reconciling, succession
rebuilding.py   the index made again, while no server has the folder        checking, succession
purging.py      what is too old or too much deleted by a command            archive, checking, doubts
exporting.py    the originals as a zip or a tar                             disk, folder, reading
"""

from dog.snapshots.durable_facts import Share
from dog.snapshots.image_files import SnapshotGone
from dog.snapshots.names import ID_PATTERN, Origin, Snapshot, is_snapshot_id
from dog.snapshots.retention import Limits
from dog.snapshots.store import SnapshotStore, make_stamp

__all__ = [
    "ID_PATTERN",
    "Limits",
    "Origin",
    "Share",
    "Snapshot",
    "SnapshotGone",
    "SnapshotStore",
    "is_snapshot_id",
    "make_stamp",
]

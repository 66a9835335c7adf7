"""The album of snapshots on disk: images, thumbnails and their index.

Each module imports only modules above it:

names               the Snapshot, its id, and its path, which is enough to find the image
image_files         read images back; a cache of the newest
clock_confirmation  files by which a command confirms the clock of a running server
durable_facts       what no image holds: hashes, origins, removals, pins, share links, trusted time, wrong dates
facts_file          open, migrate and repair the file of durable facts
scaled_images       make scaled copies of images, and keep them within a limit
database_check      check both files for damage while they are used
index               the SQLite index of the images, which may be deleted; both files in one connection
day_folders         list the days and files of the folder
lock                a file lock: one server or command uses the folder
index_turns         a lock of the index: one thread uses it, and saving has priority
image_inspection    inspect image files, in this process or in several
reconcile           make the index agree with the folder
retention           the limits, and which snapshots to remove
timekeeping         store the trusted time, and correct the age of photos that a wrong clock dated
verify              `dog album verify`: compare every file with the index
backup              `dog album backup`: a consistent copy of the databases, also from the running server
rebuild             build the index from the folder, and repair the durable facts
store               SnapshotStore: the folder and its index, for the event loop
purge               `dog album purge`: delete by the limits, and confirm the clock
export              `dog album export`: write the originals into a zip or tar
"""

from dog.snapshots.durable_facts import Share
from dog.snapshots.image_files import SnapshotGone, StoredImage
from dog.snapshots.names import ID_PATTERN, Origin, Snapshot, is_snapshot_id
from dog.snapshots.retention import Limits
from dog.snapshots.scaled_images import NotScaled
from dog.snapshots.store import SnapshotStore

__all__ = [
    "ID_PATTERN",
    "Limits",
    "NotScaled",
    "Origin",
    "Share",
    "Snapshot",
    "SnapshotGone",
    "SnapshotStore",
    "StoredImage",
    "is_snapshot_id",
]

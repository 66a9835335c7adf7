"""A process that is killed at work: `rebuilding_process KIND ALBUM ...`.

`rebuild ALBUM FOLDER` gets SIGKILL just before the first call that touches a file, then before the second, and so on,
each time in a new process with a copy of the album. It prints the copies; the last process completes. `start` does the
same to a start of the server, and `remove` to the removal of all photos. `fill ALBUM` makes an album of four photos
(one deleted, one pinned, one shared) and is killed then.
"""

import datetime as dt
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dog.snapshots import facts_file
from dog.snapshots.durable_facts import DurableFacts
from dog.snapshots.index import Index
from dog.snapshots.rebuild import Rebuilding
from dog.snapshots.store import BlockingStore
from tests.support.albums import save
from tests.support.saving_process import MOMENT, STEPS, die_before

ALL_STEPS = (
    *STEPS,
    (os, "unlink"),
    (os, "symlink"),
    (sqlite3, "connect"),
    (Index, "close"),
    (Index, "_attach"),
    (Index, "_delete"),
    (DurableFacts, "add_removed"),
    (facts_file, "_read_rows"),
)


class NoProgress:
    def begin(self, total: int) -> None: ...

    def advance(self, by: int) -> None: ...


def rebuild(root: Path) -> Rebuilding:
    """Rebuild an index and ignore the findings."""
    rebuilding = Rebuilding(root, NoProgress())
    list(rebuilding.run())
    return rebuilding


def start(root: Path) -> None:
    """Open, check and close an album, as a server does."""
    with closing(BlockingStore(root)) as album:
        album.open()
        album.check()


def remove(root: Path) -> None:
    """Remove all photos of an album."""
    with closing(BlockingStore(root)) as album:
        album.open()
        album.remove([photo.id for photo in album.read(lambda index: index.recent(10))])


ACTS: dict[str, Callable[[Path], object]] = {"rebuild": rebuild, "start": start, "remove": remove}


def act_by_steps(act: Callable[[Path], object], album: Path, folder: Path) -> None:
    step, status = 0, signal.SIGKILL.value
    while status == signal.SIGKILL:
        root = folder / str(step)
        shutil.copytree(album, root, symlinks=True)
        child = os.fork()
        if child == 0:
            die_before(step, ALL_STEPS)
            act(root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(root, flush=True)
        step += 1
    sys.exit(os.waitstatus_to_exitcode(status))


def fill(root: Path) -> None:
    with closing(BlockingStore(root)) as album:
        album.open()
        photos = [save(album, MOMENT + dt.timedelta(days=number)) for number in range(1, 4)]
    album = BlockingStore(root)
    album.open()
    photos.append(save(album, MOMENT))
    with album._use_index() as index:
        with index.facts.synced_transaction():
            index.facts.set_pinned(photos[0].id, True)
        index.facts.share(photos[1].id, MOMENT, MOMENT + dt.timedelta(days=1))
        index.facts.secret()
    album.remove([photos[3].id])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    kind, *folders = sys.argv[1:]
    if kind == "fill":
        fill(Path(folders[0]))
    else:
        act_by_steps(ACTS[kind], Path(folders[0]), Path(folders[1]))

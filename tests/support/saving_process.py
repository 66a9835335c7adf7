"""A killed saving of images: `saving_process steps|forever FOLDER`.

`steps` gets SIGKILL just before the first call that touches the disk, then before the second, and so on, each time in a
new process with its own folder. It prints the folders; the last process completes. `forever` saves into one folder, and
prints the id of each saved snapshot.
"""

import datetime as dt
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dog.snapshots.durable_facts import DurableFacts
from dog.snapshots.index import Index
from dog.snapshots.store import BlockingStore
from tests.support.albums import save

MOMENT = dt.datetime(2026, 11, 22, 11, 14, 38, 123_000, tzinfo=dt.UTC)
STEPS = (
    (os, "open"),
    (os, "write"),
    (os, "fsync"),
    (os, "mkdir"),
    (os, "replace"),
    (Index, "add"),
    (DurableFacts, "add_saved"),
)


def die_before(step: int, steps: Iterable[tuple[Any, str]] = STEPS) -> None:
    """Kill this process before the call with this number, of all `steps`."""
    count = 0

    def count_calls(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return function(*arguments, **options)

        return counted

    for owner, name in steps:
        setattr(owner, name, count_calls(getattr(owner, name)))


def save_once(folder: Path, step: int) -> None:
    album = BlockingStore(folder)
    album.open()
    save(album, MOMENT)
    die_before(step)
    save(album, MOMENT + dt.timedelta(days=40))
    os._exit(0)


def save_by_steps(folder: Path) -> None:
    step, status = 0, signal.SIGKILL.value
    while status == signal.SIGKILL:
        child = os.fork()
        if child == 0:
            save_once(folder / str(step), step)
        _, status = os.waitpid(child, 0)
        print(folder / str(step), flush=True)
        step += 1
    sys.exit(os.waitstatus_to_exitcode(status))


def save_forever(folder: Path) -> None:
    album = BlockingStore(folder)
    album.open()
    while True:
        snapshot = save(album, dt.datetime.now(dt.UTC))
        print(snapshot.id, flush=True)


if __name__ == "__main__":
    {"steps": save_by_steps, "forever": save_forever}[sys.argv[1]](Path(sys.argv[2]))

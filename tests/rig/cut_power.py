"""Record the writes of `dog serve` to a guest's disk, and cut its power.

    cut_power.py FILE_SYSTEM SEED CUTS

/dev/vda has an empty file system, and /dev/vdb the same. The service has its album on the first, and every write is
logged to /dev/vdc, with a mark for each event and answer of the service. Then, for each cut, the second disk gets the
writes that were flushed before it. The others, and what a start changes, go to a device mapper's snapshot of that disk
on /dev/vdd, so that the next cut goes on from there. Facts are printed as JSON lines.
"""

import contextlib
import hashlib
import http.client
import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from dog.errors import BadImage, StartError
from dog.images import inspect
from dog.snapshots import Snapshot
from dog.snapshots.names import image_path
from dog.snapshots.store import BlockingStore
from dog.snapshots.verify import Verification
from tests.rig.write_log import Entry, count_flushed, mark, read_log, replay, replay_some
from tests.support.camera_programs import write_program
from tests.support.pictures import make_picture

PORT = 8080
FOLDER = Path("/run/dog")
MOUNTED = FOLDER / "disk"
ALBUM = MOUNTED / "snapshots"
RECORDED, CUT = "recorded", "cut"
CAMERAS = ("porch", "yard")
PRESSES = 10
"""Presses of each camera in each life of the service."""
KEPT_PHOTOS = 12
PICTURES = 5
"""Images of different sizes, of which the cameras copy one."""
TIMEOUT = 120
"""Seconds for any step, because the processor is emulated, and may be busy."""
ENDS = (signal.SIGTERM, signal.SIGKILL)
"""Signals that end the service, in each of its lives. No cut follows the last."""

CONFIG = f"""
snapshots = "{ALBUM}"
log_file = ""
dead_time = 0
message_rate = 1000
keep_photos = {KEPT_PHOTOS}
capture_timeout = {TIMEOUT}

[cameras.porch]
camera = "script:{FOLDER}/camera.sh"

[cameras.yard]
camera = "script:{FOLDER}/camera.sh"
"""
CAMERA = f"""#!/bin/sh
exec cp {FOLDER}/$(($$ % {PICTURES})).jpg "$1"
"""


def report(fact: str, **values: Any) -> None:
    print(json.dumps({"fact": fact, **values}), flush=True)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextlib.contextmanager
def mapped_disk(name: str, table: str) -> Iterator[str]:
    """Map a disk of the size of /dev/vda to another."""
    sectors = int(Path("/sys/class/block/vda/size").read_text())
    run("dmsetup", "create", name, "--table", f"0 {sectors} {table}")
    try:
        yield f"/dev/mapper/{name}"
    finally:
        run("dmsetup", "remove", "--retry", name)


@contextlib.contextmanager
def mounted(device: str, file_system: str) -> Iterator[None]:
    run("mount", "-t", file_system, device, str(MOUNTED))
    try:
        yield
    finally:
        run("umount", str(MOUNTED))


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- the recording


class Recording:
    """The use of the album while its disk is recorded.

    Marks are `ready:ID:CAPTURE` for that event, and `request:CHANGE:ID` and `answer:CHANGE:ID` for `pin`, `unpin` and
    `delete`. Retention has no request.
    """

    def __init__(self, chance: random.Random) -> None:
        self.hashes: dict[str, str] = {}
        """The SHA-256 of each photo that was received, by id."""
        self._chance = chance
        self._pinned: dict[str, bool] = {}
        """The photos that were received and not deleted by a request, and whether they are pinned."""
        self._ready: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def run(self, config: Path, end: signal.Signals) -> None:
        """Start the service, press, pin and delete, and end the service."""
        command = [sys.executable, "-m", "dog", "serve", "--port", str(PORT), "--config", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
            assert service.stderr is not None
            lines = []
            for line in service.stderr:
                lines.append(line)
                if "D.O.G. is at" in line:
                    break
            rest = threading.Thread(target=lambda: lines.extend(service.stderr or ()))
            rest.start()
            try:
                self._use(service, end)
            finally:
                service.kill()
                rest.join()
            assert service.wait() in (0, -signal.SIGKILL), "".join(lines)
            assert "Traceback" not in "".join(lines), "".join(lines)

    def _use(self, service: subprocess.Popen[str], end: signal.Signals) -> None:
        with connect(f"ws://127.0.0.1:{PORT}/ws", max_queue=None) as push:
            watcher = threading.Thread(target=self._watch, args=(push,))
            watcher.start()
            for number in range(PRESSES + 1):
                for camera in CAMERAS:
                    push.send(json.dumps({"type": "capture", "camera": camera, "max_age": 0}))
                if number < PRESSES:
                    for _ in CAMERAS:
                        self._fetch(self._ready.get(timeout=TIMEOUT))
                        self._change_something()
            service.send_signal(end)
            watcher.join()
            while not self._ready.empty():
                self._ready.get()

    def _watch(self, push: ClientConnection) -> None:
        """Mark events and pass `ready` on. Pass None on when the service ends."""
        try:
            while True:
                event = json.loads(push.recv())
                assert event["type"] != "error", event
                if event["type"] == "ready":
                    mark(RECORDED, f"ready:{event['snapshot']}:{event['capture']}")
                    self._ready.put(event)
                elif event["type"] == "failed":  # as the last captures may, when the service stops
                    self._ready.put(None)
                elif event["type"] == "removed" and event["reason"] == "retention":
                    for removed in event["snapshots"]:
                        mark(RECORDED, f"answer:delete:{removed}")
        except ConnectionClosed:
            pass
        finally:
            self._ready.put(None)

    def _fetch(self, ready: dict[str, Any] | None) -> None:
        assert ready is not None, "the capture failed, or the service has ended"
        status, image = request("GET", ready["url"])
        assert status == 200, status
        self.hashes[ready["snapshot"]] = hashlib.sha256(image).hexdigest()
        self._pinned[ready["snapshot"]] = False

    def _change_something(self) -> None:
        """Pin, unpin or delete a photo that retention keeps, or do nothing."""
        pinned = [photo for photo, is_pinned in self._pinned.items() if is_pinned]
        newest = list(self._pinned)[-KEPT_PHOTOS // 3 :]
        candidates = {"unpin": pinned, "delete": newest + pinned}
        if len(pinned) < KEPT_PHOTOS // 2:
            candidates["pin"] = [photo for photo in newest if photo not in pinned]
        change, photos = self._chance.choice([*candidates.items(), ("nothing", [])])
        if not photos:
            return
        chosen = self._chance.choice(photos)
        mark(RECORDED, f"request:{change}:{chosen}")
        path = f"/api/snapshots/{chosen}" + ("" if change == "delete" else "/pin")
        status, _ = request("PUT" if change == "pin" else "DELETE", path)
        if status == 204:
            mark(RECORDED, f"answer:{change}:{chosen}")
        else:  # retention was faster
            assert status in (404, 410), status
        if change == "delete":
            del self._pinned[chosen]
        else:
            self._pinned[chosen] = change == "pin"


def request(method: str, path: str) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=TIMEOUT)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


# ---- the cuts


class Promises:
    """The promises that the marks before a cut make."""

    def __init__(self, marks: list[str]) -> None:
        self.captures: dict[str, int] = {}
        """The capture number of each photo that was ready, by id."""
        self.may_be_deleted: set[str] = set()
        self.deleted: set[str] = set()
        self.pins: dict[str, set[bool]] = {}
        """The states that a photo may have: the last answer's and those of later requests."""
        for text in marks:
            kind, *words = text.split(":")
            if kind == "ready":
                photo, capture = words
                self.captures[photo] = int(capture)
                self.pins.setdefault(photo, {False})
            elif kind in ("request", "answer"):
                change, photo = words
                if change == "delete":
                    (self.may_be_deleted if kind == "request" else self.deleted).add(photo)
                elif kind == "request":
                    self.pins[photo].add(change == "pin")
                else:
                    self.pins[photo] = {change == "pin"}


def check_album(promises: Promises, deleted_later: set[str], hashes: dict[str, str]) -> list[str]:
    """Start the album as the service does, and return the broken promises."""
    album = BlockingStore(ALBUM)
    try:
        album.open()
        present = album.read(lambda index: {snapshot.id: snapshot for snapshot in index.all()})
        recorded = album.read(lambda index: {each for each in promises.captures if index.facts.find_removed(each)})
    except StartError as error:
        return [f"the start fails: {error}"]
    finally:
        album.close()
    problems = [f"deleted {photo} is back" for photo in promises.deleted & present.keys()]
    for photo in promises.captures.keys() - present.keys() - promises.deleted:
        is_pinned = promises.pins[photo] == {True}
        if photo not in promises.may_be_deleted | (set() if is_pinned else deleted_later):
            problems.append(f"ready {photo} is lost")
        elif photo not in recorded:
            problems.append(f"{photo} is gone, and its deletion is not recorded")
    for photo, snapshot in present.items():
        problems += check_photo(snapshot, hashes.get(photo))
        if snapshot.pinned not in promises.pins.get(photo, {snapshot.pinned, False}):
            problems.append(f"{photo} is {'pinned' if snapshot.pinned else 'not pinned'}")
    files = {path.name for path in ALBUM.rglob("*.*")}
    problems += [f"the file {name} is back" for name in files for photo in promises.deleted if photo in name]
    if album.last_capture < max(promises.captures.values(), default=0):
        problems.append(f"the last capture is {album.last_capture}")
    if (ALBUM / ".dog" / "damaged").exists():
        problems.append(f"damaged: {os.listdir(ALBUM / '.dog' / 'damaged')}")
    found = Verification(ALBUM, NoProgress()).run()
    return problems + [f"{each.path} {each.message}" for each in found if each.is_wrong]


def check_photo(snapshot: Snapshot, digest: str | None) -> list[str]:
    data = (ALBUM / image_path(snapshot)).read_bytes()
    if digest is not None:
        return [] if hashlib.sha256(data).hexdigest() == digest else [f"{snapshot.id} is torn"]
    try:
        inspect(data)
    except BadImage as error:
        return [f"{snapshot.id}, which nobody received, is torn: {error}"]
    return []


class NoProgress:
    def begin(self, total: int) -> None: ...

    def advance(self, by: int) -> None: ...


def choose_cuts(entries: list[Entry], count: int, chance: random.Random) -> list[tuple[int, float]]:
    """Return cuts in order, each with the share of unflushed writes it keeps.

    Half of them are after any write, and half just after a mark, when the writes that should have been synced for it
    may not be there yet. Half of each keep all writes that are logged.
    """
    marks = [number for number, entry in enumerate(entries, 1) if entry.mark]
    cuts = []
    for number in range(count):
        cut = chance.randint(1, len(entries)) if number % 2 else chance.choice(marks)
        cuts.append((cut, 1.0 if number % 4 < 2 else chance.random()))
    return sorted(cuts)


def cut_power(file_system: str, hashes: dict[str, str], count: int, chance: random.Random) -> None:
    """Check the album after each of many cuts."""
    with opened("/dev/vdc") as log, opened("/dev/vdb") as disk:
        entries = read_log(log)
        end = next(number for number, entry in enumerate(entries) if entry.mark == "end")
        entries = entries[:end]
        everything = Promises([entry.mark for entry in entries])
        report(
            "recorded",
            entries=len(entries),
            ready=len(everything.captures),
            pins=sum(entry.mark.startswith("answer:pin") for entry in entries),
            unpins=sum(entry.mark.startswith("answer:unpin") for entry in entries),
            deleted=len(everything.deleted & everything.may_be_deleted),
            retention=len(everything.deleted - everything.may_be_deleted),
        )
        replayed = 0
        for number, (cut, share) in enumerate(choose_cuts(entries, count, chance)):
            flushed = count_flushed(entries, cut)
            replay(log, entries[replayed:flushed], disk)
            os.fsync(disk)
            replayed = flushed
            promises = Promises([entry.mark for entry in entries[:cut]])
            with mapped_disk(CUT, "snapshot /dev/vdb /dev/vdd N 16") as device:
                with opened(device) as snapshot:
                    replay_some(log, entries[flushed:cut], snapshot, share, chance)
                with mounted(device, file_system):
                    problems = check_album(promises, everything.deleted, hashes)
            report("cut", number=number, after=cut, flushed=flushed, share=share, problems=problems)


def main() -> None:
    file_system, seed, cuts = sys.argv[1], sys.argv[2], int(sys.argv[3])
    chance = random.Random(seed)
    MOUNTED.mkdir(parents=True)
    config = FOLDER / "dog.toml"
    config.write_text(CONFIG)
    write_program(FOLDER / "camera.sh", CAMERA)
    for number in range(PICTURES):
        picture = make_picture(seed=number, width=160 * (number + 1), height=120 * (number + 1))
        (FOLDER / f"{number}.jpg").write_bytes(picture)
    recording = Recording(chance)
    with mapped_disk(RECORDED, "log-writes /dev/vda /dev/vdc") as device, mounted(device, file_system):
        for end in ENDS:
            recording.run(config, end)
        mark(RECORDED, "end")
    cut_power(file_system, recording.hashes, cuts, chance)


if __name__ == "__main__":
    main()

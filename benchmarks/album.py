"""An album of 100,000 photos: how long its pages take, what the start takes beside an empty one, and making room."""

import datetime as dt
import http.client
import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks.bench import ROOT, Bench
from benchmarks.processes import Broken, Server
from benchmarks.rows import Row, Spread, ratios
from benchmarks.servers import dog
from dog.images import inspect
from dog.snapshots.names import SnapshotName, image_path, make_id, thumbnail_path

__all__ = ["measure_album"]

PHOTOS, DAYS = 100_000, 100
LIKE = 500
"""Photos that share one file, by links: what a file system holds at most is more."""
LIMIT = 600.0


def measure_album(bench: Bench) -> list[Row]:
    photos = PHOTOS // 10 if bench.quick else PHOTOS
    rounds = bench.rounds(50, 20)
    album = bench.new_folder("album")
    bench.say(f"making {photos:,} photos")
    ids = make_album(album / "snapshots", photos)
    bench.say("making the index")
    indexed = time_index(album / "snapshots")
    with dog(bench, None, "--snapshots", str(album / "snapshots")):
        pass  # a day that was made a moment ago is looked into once more
    starts = [
        (time_start(bench, album / "snapshots"), time_start(bench, bench.new_folder("empty")))
        for _ in range(bench.rounds(7, 3))
    ]
    with dog(bench, None, "--snapshots", str(album / "snapshots")) as server:
        bench.say("pages")
        first, deep, photo = (
            time_pages(server, rounds, path)
            for path in (
                lambda _: "/snapshots",
                lambda number: f"/snapshots?before={ids[number * len(ids) // rounds]}",
                lambda number: f"/snapshots/{ids[number * len(ids) // rounds]}",
            )
        )
    bench.say("making room")
    removing = time_removing(bench, album / "snapshots", photos - photos // 10)
    shutil.rmtree(album)
    many = f"{photos:,} photos"
    full, empty = zip(*starts, strict=True)
    return [
        page_row(f"the gallery's first page, of {many}", first, target=50),
        page_row("a page from anywhere in it", deep),
        page_row("a photo's page, with its neighbours", photo),
        Row(
            what=f"the start with a sound index of {many} / that of an empty folder",
            dog=Spread.of(full),
            beside="an empty folder",
            rival=Spread.of(empty),
            measured="ms",
            value=ratios(full, empty),
        ),
        Row(what=f"`dog album rebuild` of {many}", value=round(indexed, 1), unit="s"),
        Row(what=f"removing {photos // 10:,} photos to make room", value=round(removing * 1000, 2), unit="ms a photo"),
    ]


def page_row(what: str, taken: list[float], target: float | None = None) -> Row:
    spread = Spread.of(taken)
    return Row(what=what, dog=spread, measured="ms", value=round(spread.median, 1), unit="ms", target=target)


def make_album(folder: Path, count: int) -> list[str]:
    """So many photos over some days, the oldest first; their ids."""
    originals = folder.parent / "originals"
    originals.mkdir()
    ids: list[str] = []
    first = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for number in range(count):
        original = originals / f"{number // LIKE}.jpg"
        if number % LIKE == 0:
            make_original(original, number)
        at = first + dt.timedelta(days=number * DAYS // count, seconds=number % (count // DAYS) * 10)
        taken = SnapshotName(make_id(), "main", number + 1, at, "jpg")
        path = folder / image_path(taken)
        if number % (count // DAYS) == 0:
            path.parent.mkdir(parents=True)
        os.link(original, path)
        os.link(original.with_suffix(".thumbnail.jpg"), folder / thumbnail_path(image_path(taken)))
        ids.append(taken.id)
    return ids


def make_original(path: Path, number: int) -> None:
    colour = (number // LIKE % 256, number // 256 % 256, 128)
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").point(
        list(itertools.chain.from_iterable([min(255, value + part // 4) for value in range(256)] for part in colour))
    ).save(path, quality=80)
    path.with_suffix(".thumbnail.jpg").write_bytes(inspect(path.read_bytes()).thumbnail)


def time_index(folder: Path) -> float:
    """Seconds that the index takes to be made of the files."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "dog", "album", "rebuild", "--snapshots", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - began


def time_start(bench: Bench, folder: Path) -> float:
    """Milliseconds until it listens."""
    server = dog(bench, None, "--snapshots", str(folder))
    began = time.perf_counter()
    with server:
        return (time.perf_counter() - began) * 1000


def time_pages(server: Server, rounds: int, address: Callable[[int], str]) -> list[float]:
    """Milliseconds from asking to the last byte, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
    taken = []
    for number in range(rounds):
        began = time.perf_counter()
        connection.request("GET", address(number))
        answer = connection.getresponse()
        answer.read()
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status != http.client.OK:
            raise Broken(f"{address(number)} answers {answer.status}")
    connection.close()
    return taken


def time_removing(bench: Bench, folder: Path, keep: int) -> float:
    """Seconds a photo, from the first look at the number of photos until it is what is to be kept."""
    with dog(bench, None, "--snapshots", str(folder), "--keep-photos", str(keep)) as server:
        began, before = time.perf_counter(), count_photos(server)
        while (left := count_photos(server)) > keep:
            if time.perf_counter() - began > LIMIT:
                raise Broken(f"{left:,} photos are still there")
            time.sleep(0.05)
        return (time.perf_counter() - began) / max(1, before - left)


def count_photos(server: Server) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
    connection.request("GET", "/metrics")
    said = connection.getresponse().read().decode()
    connection.close()
    found = re.search(r"^dog_snapshots (\S+)", said, re.MULTILINE)
    if found is None:
        raise Broken("/metrics does not say how many photos there are")
    return int(float(found[1]))

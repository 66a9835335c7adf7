"""Times of large albums: pages, start, rebuild, retention."""

import base64
import contextlib
import datetime as dt
import http.client
import itertools
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from PIL import Image

from benchmarks.bench import ROOT, Bench
from benchmarks.processes import CORES, Broken, Server, pinned
from benchmarks.rows import Row, Spread, ratios
from benchmarks.servers import dog
from dog.clock import to_milliseconds
from dog.images import inspect
from dog.snapshots.day_folders import folder_mtime_ns
from dog.snapshots.index import Index
from dog.snapshots.names import SnapshotName, image_path, make_id, thumbnail_path

__all__ = ["measure_album"]

PHOTOS, DAYS = 100_000, 100
INDEXED_PHOTOS, INDEXED_DAYS = 1_000_000, 1000
"""An album for the start alone, which opens no image."""
PHOTOS_PER_FILE = 500
"""Hard links to one file. File systems allow more."""
TIMEOUT_SECONDS = 600.0


def measure_album(bench: Bench) -> list[Row]:
    photos = PHOTOS // 10 if bench.quick else PHOTOS
    rounds = bench.rounds(50, 20)
    album = bench.new_folder("album")
    bench.show_progress(f"making {photos:,} photos")
    ids = make_album(album / "snapshots", photos)
    bench.show_progress("rebuilding the index")
    with pinned(CORES[0]):
        on_one_core = time_index(album / "snapshots")
    on_all_cores = time_index(album / "snapshots")
    indexed_photos = INDEXED_PHOTOS // 10 if bench.quick else INDEXED_PHOTOS
    bench.show_progress(f"making an index of {indexed_photos:,} photos")
    indexed = bench.new_folder("indexed")
    make_index(indexed, indexed_photos)
    starts = [
        (time_start(bench, indexed), time_start(bench, bench.new_folder("empty"))) for _ in range(bench.rounds(7, 3))
    ]
    shutil.rmtree(indexed)
    with dog(bench, None, "--snapshots", str(album / "snapshots")) as server:
        bench.show_progress("pages")
        first, deep, photo = (
            time_pages(server, rounds, path)
            for path in (
                lambda _: "/snapshots",
                lambda number: f"/snapshots?before={ids[number * len(ids) // rounds]}",
                lambda number: f"/snapshots/{ids[number * len(ids) // rounds]}",
            )
        )
    bench.show_progress("removing photos")
    removing = time_removing(bench, album / "snapshots", photos - photos // 10)
    shutil.rmtree(album)
    many = f"{photos:,} photos"
    full, empty = zip(*starts, strict=True)
    return [
        page_row(f"first page of the gallery, {many}", first, target=50),
        page_row("any other page of it", deep),
        page_row("a photo's page with its neighbours", photo),
        Row(
            label=f"start with {indexed_photos:,} photos / with an empty folder",
            dog=Spread.of(full),
            rival_name="an empty folder",
            rival=Spread.of(empty),
            measured_unit="ms",
            value=ratios(full, empty),
            target=1.2,
        ),
        Row(
            label=f"`dog album rebuild` of {many} on {len(CORES)} cores",
            dog=Spread.of([on_all_cores]),
            rival_name="on one core",
            rival=Spread.of([on_one_core]),
            measured_unit="s",
            value=ratios([on_all_cores], [on_one_core]),
        ),
        Row(label=f"retention removes {photos // 10:,} photos", value=round(removing * 1000, 2), unit="ms per photo"),
    ]


def page_row(label: str, taken: list[float], target: float | None = None) -> Row:
    spread = Spread.of(taken)
    return Row(label=label, dog=spread, measured_unit="ms", value=round(spread.median, 1), unit="ms", target=target)


def make_album(folder: Path, count: int) -> list[str]:
    """Write `count` photos over DAYS days, oldest first. Return their ids."""
    originals = folder.parent / "originals"
    originals.mkdir()
    ids: list[str] = []
    first = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for number in range(count):
        original = originals / f"{number // PHOTOS_PER_FILE}.jpg"
        if number % PHOTOS_PER_FILE == 0:
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


def make_index(folder: Path, count: int) -> None:
    """Write days and an index of `count` photos, without their images."""
    private, per_day = folder / ".dog", count // INDEXED_DAYS
    first = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    days = [first + dt.timedelta(days=number) for number in range(INDEXED_DAYS)]
    for day in days:
        (folder / f"{day:%Y/%m/%d}").mkdir(parents=True)
    private.mkdir()
    Index(private).close()
    insert(
        private / "facts.sqlite3",
        "INSERT INTO saved (id, camera, capture, captured_at, content_type, sha256)"
        " VALUES (?, 'main', ?, ?, 'image/jpeg', ?)",
        ((name.id, name.capture, to_milliseconds(name.captured_at), "0" * 64) for name in name_photos(days, per_day)),
    )
    insert(
        private / "index.sqlite3",
        "INSERT INTO images VALUES (?, ?, 'main', ?, ?, 1280, 720, 200000, 'image/jpeg', '#808080')",
        (
            (name.id, image_path(name), name.capture, to_milliseconds(name.captured_at))
            for name in name_photos(days, per_day)
        ),
    )
    with contextlib.closing(Index(private)) as index:
        for name in index.day_mtimes():
            index.set_day_mtime(name, folder_mtime_ns(folder / name))


def name_photos(days: list[dt.datetime], per_day: int) -> Iterator[SnapshotName]:
    for number in range(len(days) * per_day):
        id = base64.b32encode(number.to_bytes(15, "big")).decode().lower()
        at = days[number // per_day] + dt.timedelta(seconds=number % per_day * 10)
        yield SnapshotName(id, "main", number + 1, at, "jpg")


def insert(file: Path, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.executemany(statement, rows)


def make_original(path: Path, number: int) -> None:
    colour = (number // PHOTOS_PER_FILE % 256, number // 256 % 256, 128)
    Image.linear_gradient("L").resize((640, 480)).convert("RGB").point(
        list(itertools.chain.from_iterable([min(255, value + part // 4) for value in range(256)] for part in colour))
    ).save(path, quality=80)
    path.with_suffix(".thumbnail.jpg").write_bytes(inspect(path.read_bytes()).thumbnail)


def time_index(folder: Path) -> float:
    """Return the seconds that `dog album rebuild` takes."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "dog", "album", "rebuild", "--snapshots", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - began


def time_start(bench: Bench, folder: Path) -> float:
    """Return the milliseconds until the server listens."""
    server = dog(bench, None, "--snapshots", str(folder))
    began = time.perf_counter()
    with server:
        return (time.perf_counter() - began) * 1000


def time_pages(server: Server, rounds: int, make_path: Callable[[int], str]) -> list[float]:
    """Return the milliseconds of each response, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    taken = []
    for number in range(rounds):
        began = time.perf_counter()
        connection.request("GET", make_path(number))
        answer = connection.getresponse()
        answer.read()
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status != http.client.OK:
            raise Broken(f"{make_path(number)} has the status {answer.status}")
    connection.close()
    return taken


def time_removing(bench: Bench, folder: Path, keep: int) -> float:
    """Return the seconds per photo that retention takes.

    It removes all but `keep` photos.
    """
    with dog(bench, None, "--snapshots", str(folder), "--keep-photos", str(keep)) as server:
        began, before = time.perf_counter(), count_photos(server)
        while (left := count_photos(server)) > keep:
            if time.perf_counter() - began > TIMEOUT_SECONDS:
                raise Broken(f"{left:,} photos are left after {TIMEOUT_SECONDS:.0f} s")
            time.sleep(0.05)
        return (time.perf_counter() - began) / max(1, before - left)


def count_photos(server: Server) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    connection.request("GET", "/metrics")
    output = connection.getresponse().read().decode()
    connection.close()
    found = re.search(r"^dog_snapshots (\S+)", output, re.MULTILINE)
    if found is None:
        raise Broken("/metrics has no dog_snapshots")
    return int(float(found[1]))

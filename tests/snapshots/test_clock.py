"""An album under a wrong clock: what it remembers, what it keeps, and what a command confirms."""

import asyncio
import datetime as dt
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from dog.clock import Doubt
from dog.snapshots import Limits, Snapshot, SnapshotStore
from dog.snapshots.clock_confirmation import DoubtFiles
from dog.snapshots.index import Index
from dog.snapshots.purge import ClockInDoubt, Purge
from dog.snapshots.rebuild import Rebuilding
from tests.snapshots.test_store import check_agreement
from tests.support.hand_clock import DAY, NOW, HandClock
from tests.support.pictures import make_picture

PICTURE = make_picture()
MONTH = 30 * DAY
FAR = 45 * 365
"""Days that the wrong clock is ahead."""

Open = Callable[[], Awaitable[SnapshotStore]]


class Nothing:
    """Progress that nobody watches."""

    def begin(self, total: int) -> None: ...

    def advance(self, by: int) -> None: ...


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


@pytest.fixture
async def start(hand: HandClock, folder: Path) -> AsyncIterator[Open]:
    """`await start()`: an album that keeps photos for a week, as a start of the service opens it."""
    stores: list[SnapshotStore] = []

    async def start() -> SnapshotStore:
        for store in stores:
            await store.close()
        stores.append(SnapshotStore(folder, limits=Limits(age=7 * DAY), clock=hand.make()))
        await stores[-1].open()
        return stores[-1]

    yield start
    for store in stores:
        await store.close()


@pytest.fixture(autouse=True)
def one_clock(hand: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dated in the store has the same clock."""
    for module in "store", "album":
        monkeypatch.setattr(f"dog.snapshots.{module}.utc_now", lambda: hand.now)


async def take(store: SnapshotStore, hand: HandClock) -> Snapshot:
    return await store.save(PICTURE, camera="porch", capture=store.last_capture + 1, captured_at=hand.now)


def remembered(folder: Path) -> dt.datetime | None:
    """What a stopped album remembers."""
    with closing(Index(folder / ".dog" / "index.sqlite3")) as index:
        return index.facts.trusted_at()


async def look(store: SnapshotStore) -> Doubt | None:
    """What the service does every second and every minute."""
    doubt = await store.check_clock()
    await store.purge()
    return doubt


# ---- photos


async def test_two_starts_years_ahead_and_captures_between_delete_nothing(
    start: Open, hand: HandClock, folder: Path
) -> None:
    store = await start()
    old = [await take(store, hand) for _ in range(3)]
    for _ in range(2):
        hand.jump(FAR)
        store = await start()
        assert await look(store) is not None
        old.append(await take(store, hand))
        hand.pass_time(dt.timedelta(hours=2))
        assert await look(store) is not None
        assert await check_agreement(store) == old[::-1]
        await store.close()
        assert remembered(folder) == NOW
        hand.jump(-FAR)
    hand.pass_time(dt.timedelta(hours=3))
    store = await start()
    assert await look(store) is None
    assert await check_agreement(store) == old[::-1]
    hand.pass_time(6 * DAY)
    assert await look(store) is None
    assert await check_agreement(store) == old[::-1]
    hand.pass_time(2 * DAY)
    assert await look(store) is None
    assert await check_agreement(store) == [], "what is dated years ahead was not taken later than it was trusted again"


@pytest.mark.parametrize("days", [FAR, 400, 8.5])
async def test_a_jump_while_it_runs_deletes_nothing_until_the_kernel_confirms_it(
    start: Open, hand: HandClock, days: float
) -> None:
    photo = await take(await start(), hand)
    store = await start()
    hand.jump(days)
    await store.purge()
    assert await store.count() == 1, "also before the next look at the clock"
    await take(store, hand)
    assert await look(store) is not None
    assert await store.get(photo.id) is not None
    hand.synchronised = True
    assert await look(store) is None
    assert await store.get(photo.id) is None
    assert await store.count() == 1


async def test_a_start_with_the_kernels_word_deletes_what_is_old(start: Open, hand: HandClock, folder: Path) -> None:
    await take(await start(), hand)
    hand.jump(FAR)
    hand.synchronised = True
    store = await start()
    assert await look(store) is None
    assert await store.count() == 0
    await store.close()
    assert remembered(folder) == hand.now


async def test_a_clock_that_went_back_is_not_remembered_and_keeps_the_order(
    start: Open, hand: HandClock, folder: Path
) -> None:
    store = await start()
    first = await take(store, hand)
    hand.jump(-3)
    assert await look(store) is not None
    second = await take(store, hand)
    assert await check_agreement(store) == [second, first]
    await store.close()
    assert remembered(folder) == NOW


async def test_other_limits_go_on_while_the_clock_is_in_doubt(start: Open, hand: HandClock, folder: Path) -> None:
    store = await start()
    for _ in range(3):
        await take(store, hand)
    await store.close()
    hand.jump(FAR)
    store = SnapshotStore(folder, limits=Limits(age=7 * DAY, photos=2), clock=hand.make())
    await store.open()
    assert await look(store) is not None
    assert await store.count() == 2
    await store.close()


# ---- photos that a wrong clock dated


@pytest.mark.parametrize("is_seen_first", [True, False])
@pytest.mark.parametrize("days", [-9, -70, 5000])
async def test_photos_of_a_wrong_clock_are_as_old_as_they_are_when_it_is_set_right(
    start: Open, hand: HandClock, folder: Path, days: float, is_seen_first: bool
) -> None:
    hand.jump(days)
    store = await start()
    photos = [await take(store, hand) for _ in range(2)]
    hand.pass_time(3 * DAY)
    hand.jump(-days)
    if is_seen_first:
        assert await look(store) is not None
        photos.append(await take(store, hand))
    hand.synchronised = True
    await store.purge()
    assert await check_agreement(store) == photos[::-1], "also before the next look at the clock"
    await store.close()
    assert list(Rebuilding(folder, Nothing()).run()) == []
    store = await start()
    hand.pass_time(3.9 * DAY)
    await look(store)
    assert await check_agreement(store) == photos[::-1]
    hand.pass_time(0.2 * DAY)
    await look(store)
    assert await check_agreement(store) == photos[:1:-1]
    hand.pass_time(4 * DAY)
    await look(store)
    assert await store.count() == 0


@pytest.mark.parametrize("days", [-30, -2, 400])
@pytest.mark.parametrize("is_same_run", [True, False])
async def test_a_photo_of_a_doubted_clock_that_was_wrong_is_kept_for_as_long_as_any_other(
    start: Open, hand: HandClock, days: float, is_same_run: bool
) -> None:
    await take(await start(), hand)
    hand.jump(days)
    store = await start()
    photo = await take(store, hand)
    hand.jump(-days)
    if not is_same_run:
        store = await start()
    hand.pass_time(6.9 * DAY)
    assert await look(store) is None
    assert await store.count() == 2
    hand.pass_time(0.2 * DAY)
    await look(store)
    assert await store.get(photo.id) is None


async def test_a_photo_of_a_doubted_clock_that_was_right_is_as_old_as_its_date_says(
    start: Open, hand: HandClock
) -> None:
    await take(await start(), hand)
    hand.pass_time(MONTH)
    store = await start()
    photo = await take(store, hand)
    for _ in range(4):
        hand.pass_time(DAY)
        assert await look(store) is not None
    hand.synchronised = True
    assert await look(store) is None
    assert await check_agreement(store) == [photo]
    hand.pass_time(3.1 * DAY)
    await look(store)
    assert await store.count() == 0


async def test_a_removed_photo_leaves_no_doubt_of_its_date(start: Open, hand: HandClock) -> None:
    await take(await start(), hand)
    hand.jump(-30)
    store = await start()
    photo = await take(store, hand)

    def doubted() -> Awaitable[int]:
        return store._read_index(lambda index: int(str(index._value("SELECT count(*) FROM misdated"))))

    assert await doubted() == 1
    await store.remove(photo.id)
    assert await doubted() == 0


# ---- what is remembered


async def test_the_time_is_remembered_at_the_start_with_each_capture_and_once_an_hour(
    start: Open, hand: HandClock, folder: Path
) -> None:
    async def restart() -> SnapshotStore:
        store = await start()
        assert await look(store) is None
        return store

    def now_remembered(store: SnapshotStore) -> Awaitable[dt.datetime | None]:
        return store._read_index(lambda index: index.facts.trusted_at())

    store = await restart()
    assert await now_remembered(store) == NOW
    hand.pass_time(dt.timedelta(minutes=59))
    await look(store)
    assert await now_remembered(store) == NOW
    hand.pass_time(dt.timedelta(minutes=2))
    await look(store)
    assert await now_remembered(store) == hand.now
    hand.pass_time(dt.timedelta(minutes=5))
    await take(store, hand)
    assert await now_remembered(store) == hand.now


async def test_a_rebuilt_index_remembers_the_time_and_a_lost_one_has_that_of_the_newest_photo(
    start: Open, hand: HandClock, folder: Path
) -> None:
    store = await start()
    await take(store, hand)
    hand.pass_time(2 * MONTH)
    await look(store)
    await take(store, hand)
    newest = hand.now
    hand.pass_time(dt.timedelta(hours=5))
    await look(store)
    await store.close()
    last = remembered(folder)
    assert last == hand.now
    assert list(Rebuilding(folder, Nothing()).run()) == []
    assert remembered(folder) == last
    Index.delete(folder / ".dog" / "index.sqlite3")
    hand.jump(FAR)
    store = await start()
    assert await look(store) == Doubt(hand.now, newest)
    assert await store.count() == 1


@pytest.mark.parametrize("is_first_start", [True, False])
async def test_an_index_of_before_has_the_time_of_its_newest_photo_and_is_not_made_again(
    start: Open, hand: HandClock, folder: Path, caplog: pytest.LogCaptureFixture, is_first_start: bool
) -> None:
    store = await start()
    hand.pass_time(MONTH)
    await take(store, hand)
    newest = hand.now
    hand.now = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    await take(store, hand)
    await store.close()
    with closing(sqlite3.connect(folder / ".dog" / "index.sqlite3", isolation_level=None)) as database:
        database.execute("DROP TABLE clock" if is_first_start else "UPDATE clock SET trusted_at = 9e30")
    hand.now = newest + 3 * DAY
    store = await start()
    assert await look(store) == Doubt(hand.now, newest)
    assert "rebuilt" not in caplog.text


# ---- removals and links


async def test_old_removals_and_links_are_forgotten_by_a_trusted_clock_alone(start: Open, hand: HandClock) -> None:
    store = await start()
    gone, photo = await take(store, hand), await take(store, hand)
    await store.pin(photo, True)
    await store.remove(gone.id)
    link = await store.share(photo, hand.now + DAY)
    hand.jump(400)
    for _ in range(2):
        hand.pass_time(dt.timedelta(hours=2))
        assert await look(store) is not None
        late = await take(store, hand)
        await store.remove(late.id)
        await store.share(photo, hand.now + DAY)
        assert await store.find_name(gone.id) is not None
        assert await store.find_share(link.id) == link
        store = await start()
    hand.synchronised = True
    assert await look(store) is None
    assert await store.find_name(gone.id) is None
    assert await store.find_share(link.id) is None
    assert len(await store.shares_of(photo)) == 2


async def test_a_removal_and_a_link_that_are_dated_before_the_project_stay(start: Open, hand: HandClock) -> None:
    right, hand.now = hand.now, dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
    store = await start()
    gone, photo = await take(store, hand), await take(store, hand)
    await store.remove(gone.id)
    link = await store.share(photo, hand.now + DAY)
    hand.now, hand.synchronised = right, True
    assert await look(store) is None
    assert await store.find_name(gone.id) is not None
    assert await store.find_share(link.id) == link


# ---- the command


def purge(folder: Path, hand: HandClock, *, confirm: bool = False) -> Purge:
    purge = Purge(folder)
    purge.run(Limits(age=7 * DAY), confirm=confirm, clock=hand.make())
    return purge


async def test_a_purge_while_nothing_runs_refuses_a_doubt_until_it_is_confirmed(
    start: Open, hand: HandClock, folder: Path
) -> None:
    store = await start()
    await take(store, hand)
    await store.close()
    assert purge(folder, hand).deleted == 0
    hand.jump(40)
    for _ in range(2):
        with pytest.raises(ClockInDoubt, match=r"2026-12-30 12:00 UTC.*Nothing was deleted.*purge --confirm"):
            purge(folder, hand)
    purged = purge(folder, hand, confirm=True)
    assert (purged.deleted, purged.is_confirmed, purged.is_left_to_server) == (1, True, False)
    assert remembered(folder) == hand.now
    assert await look(await start()) is None


@pytest.mark.parametrize("confirm", [True, False])
async def test_a_purge_with_a_trusted_clock_deletes_what_is_old(
    start: Open, hand: HandClock, folder: Path, confirm: bool
) -> None:
    store = await start()
    await take(store, hand)
    hand.pass_time(8 * DAY)
    newest = await take(store, hand)
    assert await store.count() == 1
    await take(store, hand)
    hand.pass_time(6.9 * DAY)
    await store.check_clock()
    await store.close()
    hand.jump(0.5)
    purged = purge(folder, hand, confirm=confirm)
    assert (purged.deleted, purged.is_confirmed) == (2, False)
    assert await (await start()).get(newest.id) is None


async def test_a_purge_confirms_the_clock_of_the_server_that_runs(start: Open, hand: HandClock, folder: Path) -> None:
    await take(await start(), hand)
    store = await start()
    assert (await asyncio.to_thread(purge, folder, hand)).is_left_to_server
    hand.jump(40)
    assert await look(store) is not None
    with pytest.raises(ClockInDoubt):
        await asyncio.to_thread(purge, folder, hand)
    assert await store.count() == 1
    confirming = asyncio.create_task(asyncio.to_thread(purge, folder, hand, confirm=True))
    while await look(store) is not None:  # noqa: ASYNC110 - as the service does, but sooner
        await asyncio.sleep(0.01)
    purged = await confirming
    assert (purged.is_confirmed, purged.is_left_to_server) == (True, True)
    assert await store.count() == 0
    assert not list((folder / ".dog").glob("clock-*"))


async def test_a_confirmation_is_for_the_doubt_that_the_person_saw(start: Open, hand: HandClock, folder: Path) -> None:
    store = await start()
    await take(store, hand)
    hand.jump(40)
    assert await look(store) is not None
    files = DoubtFiles(folder / ".dog")
    assert files.confirm()
    hand.jump(FAR)
    assert await look(store) is not None
    assert files.is_acknowledged()
    assert files.read() == await look(store)
    assert await store.count() == 1


async def test_what_a_killed_server_left_confirms_nothing(start: Open, hand: HandClock, folder: Path) -> None:
    store = await start()
    await take(store, hand)
    hand.jump(40)
    assert await look(store) is not None
    DoubtFiles(folder / ".dog").confirm()
    left = (folder / ".dog" / "clock-confirmed").read_bytes()
    await store.close()
    (folder / ".dog" / "clock-confirmed").write_bytes(left)
    store = await start()
    assert await look(store) is not None
    assert await store.count() == 1

"""The clock of an album: stored time, retention and confirmation."""

import asyncio
import datetime as dt
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from dog.clock import Doubt
from dog.database import delete_database, read_value
from dog.snapshots import Limits, Snapshot, SnapshotStore
from dog.snapshots.clock_confirmation import DoubtFiles
from dog.snapshots.index import Index
from dog.snapshots.purge import ClockInDoubt, Purge
from dog.snapshots.rebuild import Rebuilding
from tests.support.hand_clock import DAY, NOW, HandClock
from tests.support.pictures import make_picture
from tests.support.rebuilding_process import NoProgress
from tests.support.stores import check_agreement

PICTURE = make_picture()
MONTH = 30 * DAY
FAR = 45 * 365
"""Days that the wrong clock is ahead."""

Open = Callable[[], Awaitable[SnapshotStore]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "snapshots"


@pytest.fixture
async def start(hand_clock: HandClock, folder: Path) -> AsyncIterator[Open]:
    """`await start()`: open an album that keeps photos for a week."""
    stores: list[SnapshotStore] = []

    async def start() -> SnapshotStore:
        for store in stores:
            await store.close()
        stores.append(SnapshotStore(folder, limits=Limits(age=7 * DAY), clock=hand_clock.make()))
        await stores[-1].open()
        return stores[-1]

    yield start
    for store in stores:
        await store.close()


@pytest.fixture(autouse=True)
def same_clock_in_the_store(hand_clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the test's clock also for dates in the store."""
    monkeypatch.setattr("dog.snapshots.store.utc_now", lambda: hand_clock.now)


async def save_now(store: SnapshotStore, hand_clock: HandClock) -> Snapshot:
    return await store.save(PICTURE, camera="porch", capture=store.last_capture + 1, captured_at=hand_clock.now)


def stored_time(folder: Path) -> dt.datetime | None:
    """Return the time that a stopped album has stored."""
    with closing(Index(folder / ".dog")) as index:
        return index.facts.trusted_at()


async def check_and_purge(store: SnapshotStore) -> Doubt | None:
    """Run the service's checks of every second and every minute."""
    doubt = await store.check_clock()
    await store.purge()
    return doubt


# ---- photos


async def test_two_starts_with_a_clock_years_ahead_delete_nothing(
    start: Open, hand_clock: HandClock, folder: Path
) -> None:
    store = await start()
    old = [await save_now(store, hand_clock) for _ in range(3)]
    for _ in range(2):
        hand_clock.jump(FAR)
        store = await start()
        assert await check_and_purge(store) is not None
        old.append(await save_now(store, hand_clock))
        hand_clock.pass_time(dt.timedelta(hours=2))
        assert await check_and_purge(store) is not None
        assert await check_agreement(store) == old[::-1]
        await store.close()
        assert stored_time(folder) == NOW
        hand_clock.jump(-FAR)
    hand_clock.pass_time(dt.timedelta(hours=3))
    store = await start()
    assert await check_and_purge(store) is None
    assert await check_agreement(store) == old[::-1]
    hand_clock.pass_time(6 * DAY)
    assert await check_and_purge(store) is None
    assert await check_agreement(store) == old[::-1]
    hand_clock.pass_time(2 * DAY)
    assert await check_and_purge(store) is None
    assert await check_agreement(store) == [], "photos dated years ahead expire, too"


@pytest.mark.parametrize("days", [FAR, 400, 8.5])
async def test_a_clock_jump_at_run_time_deletes_nothing_until_the_kernel_confirms_it(
    start: Open, hand_clock: HandClock, days: float
) -> None:
    photo = await save_now(await start(), hand_clock)
    store = await start()
    hand_clock.jump(days)
    await store.purge()
    assert await store.count() == 1, "also before the next check of the clock"
    await save_now(store, hand_clock)
    assert await check_and_purge(store) is not None
    assert await store.get(photo.id) is not None
    hand_clock.synchronised = True
    assert await check_and_purge(store) is None
    assert await store.get(photo.id) is None
    assert await store.count() == 1


async def test_a_start_with_a_synchronised_clock_deletes_old_photos(
    start: Open, hand_clock: HandClock, folder: Path
) -> None:
    await save_now(await start(), hand_clock)
    hand_clock.jump(FAR)
    hand_clock.synchronised = True
    store = await start()
    assert await check_and_purge(store) is None
    assert await store.count() == 0
    await store.close()
    assert stored_time(folder) == hand_clock.now


async def test_a_clock_that_went_back_is_not_stored_and_keeps_the_order(
    start: Open, hand_clock: HandClock, folder: Path
) -> None:
    store = await start()
    first = await save_now(store, hand_clock)
    hand_clock.jump(-3)
    assert await check_and_purge(store) is not None
    second = await save_now(store, hand_clock)
    assert await check_agreement(store) == [second, first]
    await store.close()
    assert stored_time(folder) == NOW


async def test_other_limits_apply_while_the_clock_is_in_doubt(start: Open, hand_clock: HandClock, folder: Path) -> None:
    store = await start()
    for _ in range(3):
        await save_now(store, hand_clock)
    await store.close()
    hand_clock.jump(FAR)
    store = SnapshotStore(folder, limits=Limits(age=7 * DAY, photos=2), clock=hand_clock.make())
    await store.open()
    assert await check_and_purge(store) is not None
    assert await store.count() == 2
    await store.close()


# ---- wrongly dated photos


@pytest.mark.parametrize("is_seen_first", [True, False])
@pytest.mark.parametrize("days", [-9, -70, 5000])
async def test_wrongly_dated_photos_get_their_true_age_when_the_clock_is_set(
    start: Open, hand_clock: HandClock, folder: Path, days: float, is_seen_first: bool
) -> None:
    hand_clock.jump(days)
    store = await start()
    photos = [await save_now(store, hand_clock) for _ in range(2)]
    hand_clock.pass_time(3 * DAY)
    hand_clock.jump(-days)
    if is_seen_first:
        assert await check_and_purge(store) is not None
        photos.append(await save_now(store, hand_clock))
    hand_clock.synchronised = True
    await store.purge()
    assert await check_agreement(store) == photos[::-1], "also before the next check of the clock"
    await store.close()
    assert list(Rebuilding(folder, NoProgress()).run()) == []
    store = await start()
    hand_clock.pass_time(3.9 * DAY)
    await check_and_purge(store)
    assert await check_agreement(store) == photos[::-1]
    hand_clock.pass_time(0.2 * DAY)
    await check_and_purge(store)
    assert await check_agreement(store) == photos[:1:-1]
    hand_clock.pass_time(4 * DAY)
    await check_and_purge(store)
    assert await store.count() == 0


@pytest.mark.parametrize("days", [-30, -2, 400])
@pytest.mark.parametrize("is_same_run", [True, False])
async def test_a_photo_of_a_wrong_clock_is_kept_as_long_as_any_other(
    start: Open, hand_clock: HandClock, days: float, is_same_run: bool
) -> None:
    await save_now(await start(), hand_clock)
    hand_clock.jump(days)
    store = await start()
    photo = await save_now(store, hand_clock)
    hand_clock.jump(-days)
    if not is_same_run:
        store = await start()
    hand_clock.pass_time(6.9 * DAY)
    assert await check_and_purge(store) is None
    assert await store.count() == 2
    hand_clock.pass_time(0.2 * DAY)
    await check_and_purge(store)
    assert await store.get(photo.id) is None


async def test_a_photo_of_a_doubted_but_right_clock_has_the_age_of_its_date(start: Open, hand_clock: HandClock) -> None:
    await save_now(await start(), hand_clock)
    hand_clock.pass_time(MONTH)
    store = await start()
    photo = await save_now(store, hand_clock)
    for _ in range(4):
        hand_clock.pass_time(DAY)
        assert await check_and_purge(store) is not None
    hand_clock.synchronised = True
    assert await check_and_purge(store) is None
    assert await check_agreement(store) == [photo]
    hand_clock.pass_time(3.1 * DAY)
    await check_and_purge(store)
    assert await store.count() == 0


async def test_removing_a_photo_deletes_its_misdated_row(start: Open, hand_clock: HandClock) -> None:
    await save_now(await start(), hand_clock)
    hand_clock.jump(-30)
    store = await start()
    photo = await save_now(store, hand_clock)

    def doubted() -> Awaitable[int]:
        return store._read_index(lambda index: int(str(read_value(index._database, "SELECT count(*) FROM misdated"))))

    assert await doubted() == 1
    await store.remove(photo.id)
    assert await doubted() == 0


# ---- the stored time


async def test_the_time_is_stored_at_the_start_with_each_capture_and_once_an_hour(
    start: Open, hand_clock: HandClock, folder: Path
) -> None:
    async def restart() -> SnapshotStore:
        store = await start()
        assert await check_and_purge(store) is None
        return store

    def stored_now(store: SnapshotStore) -> Awaitable[dt.datetime | None]:
        return store._read_index(lambda index: index.facts.trusted_at())

    store = await restart()
    assert await stored_now(store) == NOW
    hand_clock.pass_time(dt.timedelta(minutes=59))
    await check_and_purge(store)
    assert await stored_now(store) == NOW
    hand_clock.pass_time(dt.timedelta(minutes=2))
    await check_and_purge(store)
    assert await stored_now(store) == hand_clock.now
    hand_clock.pass_time(dt.timedelta(minutes=5))
    await save_now(store, hand_clock)
    assert await stored_now(store) == hand_clock.now


async def test_a_rebuild_keeps_the_time_and_without_it_the_newest_photos_counts(
    start: Open, hand_clock: HandClock, folder: Path
) -> None:
    store = await start()
    await save_now(store, hand_clock)
    hand_clock.pass_time(2 * MONTH)
    await check_and_purge(store)
    await save_now(store, hand_clock)
    newest = hand_clock.now
    hand_clock.pass_time(dt.timedelta(hours=5))
    await check_and_purge(store)
    await store.close()
    last = stored_time(folder)
    assert last == hand_clock.now
    assert list(Rebuilding(folder, NoProgress()).run()) == []
    assert stored_time(folder) == last
    delete_database(folder / ".dog" / "index.sqlite3")
    assert stored_time(folder) == last
    delete_database(folder / ".dog" / "facts.sqlite3")
    hand_clock.jump(FAR)
    store = await start()
    assert await check_and_purge(store) == Doubt(hand_clock.now, newest)
    assert await store.count() == 1


@pytest.mark.parametrize("is_first_start", [True, False])
async def test_without_a_stored_time_the_newest_photos_counts(
    start: Open, hand_clock: HandClock, folder: Path, caplog: pytest.LogCaptureFixture, is_first_start: bool
) -> None:
    store = await start()
    hand_clock.pass_time(MONTH)
    await save_now(store, hand_clock)
    newest = hand_clock.now
    hand_clock.now = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    await save_now(store, hand_clock)
    await store.close()
    with closing(sqlite3.connect(folder / ".dog" / "facts.sqlite3", isolation_level=None)) as database:
        database.execute("DELETE FROM clock" if is_first_start else "UPDATE clock SET trusted_at = 9e30")
    hand_clock.now = newest + 3 * DAY
    store = await start()
    assert await check_and_purge(store) == Doubt(hand_clock.now, newest)
    assert "can't be used" not in caplog.text


# ---- removals and links


async def test_only_a_trusted_clock_deletes_old_removals_and_links(start: Open, hand_clock: HandClock) -> None:
    store = await start()
    gone, photo = await save_now(store, hand_clock), await save_now(store, hand_clock)
    await store.pin(photo, True)
    await store.remove(gone.id)
    link = await store.share(photo, hand_clock.now + DAY)
    hand_clock.jump(400)
    for _ in range(2):
        hand_clock.pass_time(dt.timedelta(hours=2))
        assert await check_and_purge(store) is not None
        late = await save_now(store, hand_clock)
        await store.remove(late.id)
        await store.share(photo, hand_clock.now + DAY)
        assert await store.find_name(gone.id) is not None
        assert await store.find_share(link.id) == link
        store = await start()
    hand_clock.synchronised = True
    assert await check_and_purge(store) is None
    assert await store.find_name(gone.id) is None
    assert await store.find_share(link.id) is None
    assert len(await store.shares_of(photo)) == 2


async def test_removals_and_links_dated_before_the_project_are_kept(start: Open, hand_clock: HandClock) -> None:
    right, hand_clock.now = hand_clock.now, dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
    store = await start()
    gone, photo = await save_now(store, hand_clock), await save_now(store, hand_clock)
    await store.remove(gone.id)
    link = await store.share(photo, hand_clock.now + DAY)
    hand_clock.now, hand_clock.synchronised = right, True
    assert await check_and_purge(store) is None
    assert await store.find_name(gone.id) is not None
    assert await store.find_share(link.id) == link


# ---- the command


def purge(folder: Path, hand_clock: HandClock, *, confirm: bool = False) -> Purge:
    purge = Purge(folder)
    purge.run(Limits(age=7 * DAY), confirm=confirm, clock=hand_clock.make())
    return purge


async def test_a_purge_without_a_server_refuses_a_doubt_until_it_is_confirmed(
    start: Open, hand_clock: HandClock, folder: Path
) -> None:
    store = await start()
    await save_now(store, hand_clock)
    await store.close()
    assert purge(folder, hand_clock).deleted == 0
    hand_clock.jump(40)
    for _ in range(2):
        with pytest.raises(ClockInDoubt, match=r"2026-12-30 12:00 UTC.*Nothing was deleted.*purge --confirm"):
            purge(folder, hand_clock)
    purged = purge(folder, hand_clock, confirm=True)
    assert (purged.deleted, purged.is_confirmed, purged.is_left_to_server) == (1, True, False)
    assert stored_time(folder) == hand_clock.now
    assert await check_and_purge(await start()) is None


@pytest.mark.parametrize("confirm", [True, False])
async def test_a_purge_with_a_trusted_clock_deletes_old_photos(
    start: Open, hand_clock: HandClock, folder: Path, confirm: bool
) -> None:
    store = await start()
    await save_now(store, hand_clock)
    hand_clock.pass_time(8 * DAY)
    newest = await save_now(store, hand_clock)
    assert await store.count() == 1
    await save_now(store, hand_clock)
    hand_clock.pass_time(6.9 * DAY)
    await store.check_clock()
    await store.close()
    hand_clock.jump(0.5)
    purged = purge(folder, hand_clock, confirm=confirm)
    assert (purged.deleted, purged.is_confirmed) == (2, False)
    assert await (await start()).get(newest.id) is None


async def test_a_purge_confirms_the_clock_of_a_running_server(start: Open, hand_clock: HandClock, folder: Path) -> None:
    await save_now(await start(), hand_clock)
    store = await start()
    assert (await asyncio.to_thread(purge, folder, hand_clock)).is_left_to_server
    hand_clock.jump(40)
    assert await check_and_purge(store) is not None
    with pytest.raises(ClockInDoubt):
        await asyncio.to_thread(purge, folder, hand_clock)
    assert await store.count() == 1
    confirming = asyncio.create_task(asyncio.to_thread(purge, folder, hand_clock, confirm=True))
    while await check_and_purge(store) is not None:  # noqa: ASYNC110 - as the service does, but sooner
        await asyncio.sleep(0.01)
    purged = await confirming
    assert (purged.is_confirmed, purged.is_left_to_server) == (True, True)
    assert await store.count() == 0
    assert not list((folder / ".dog").glob("clock-*"))


async def test_a_confirmation_counts_only_for_the_doubt_that_was_shown(
    start: Open, hand_clock: HandClock, folder: Path
) -> None:
    store = await start()
    await save_now(store, hand_clock)
    hand_clock.jump(40)
    assert await check_and_purge(store) is not None
    files = DoubtFiles(folder / ".dog")
    assert files.confirm()
    hand_clock.jump(FAR)
    assert await check_and_purge(store) is not None
    assert files.is_acknowledged()
    assert files.read() == await check_and_purge(store)
    assert await store.count() == 1


async def test_a_confirmation_file_of_a_killed_server_confirms_nothing(
    start: Open, hand_clock: HandClock, folder: Path
) -> None:
    store = await start()
    await save_now(store, hand_clock)
    hand_clock.jump(40)
    assert await check_and_purge(store) is not None
    DoubtFiles(folder / ".dog").confirm()
    left = (folder / ".dog" / "clock-confirmed").read_bytes()
    await store.close()
    (folder / ".dog" / "clock-confirmed").write_bytes(left)
    store = await start()
    assert await check_and_purge(store) is not None
    assert await store.count() == 1

"""What an idle viewer costs in memory: resident with all viewers, less what there was before, for each server."""

from benchmarks.bench import Bench
from benchmarks.load import Load
from benchmarks.processes import Broken, Server, Skipped
from benchmarks.rows import FAILED, Row, Spread
from benchmarks.servers import CAPTURE, RIVALS, dog

__all__ = ["measure_memory"]


def measure_memory(bench: Bench) -> list[Row]:
    what = f"memory a viewer, {bench.viewers:,} idle"
    rss, pss = _measure(bench, dog(bench))
    own = Spread.of([rss])
    rows = [
        Row(
            what=what,
            dog=own,
            measured="KiB",
            value=own.median,
            unit="KiB",
            target=15,
            beyond=12,
            note=_note("D.O.G.", pss),
        )
    ]
    for rival in RIVALS:
        try:
            rss, pss = _measure(bench, rival.start(bench))
        except Skipped as reason:
            rows.append(Row(what=what, beside=rival.name, skipped=str(reason)))
        except Broken as reason:
            rows.append(Row(what=what, beside=rival.name, skipped=f"{FAILED}{reason}"))
        else:
            theirs = Spread.of([rss])
            ratio = round(own.median / theirs.median, 3)
            rows.append(
                Row(
                    what=what,
                    dog=own,
                    beside=rival.name,
                    rival=theirs,
                    measured="KiB",
                    value=ratio,
                    note=_note(rival.name, pss),
                )
            )
    return rows


def _note(name: str, pss: float) -> str:
    return f"PSS of {name}: {pss:.1f} KiB"


def _measure(bench: Bench, server: Server) -> tuple[float, float]:
    """KiB of RSS and of PSS for each viewer."""
    bench.say(f"the viewers of {server.name} come")
    with server:
        server.wait_until_idle()
        before = server.memory()
        with Load(bench, server, CAPTURE, viewers=bench.viewers) as load:
            load.wait_until_all_is_said()
            after = server.memory()
    viewers_kib = bench.viewers * 1024
    return (after.rss - before.rss) / viewers_kib, (after.pss - before.pss) / viewers_kib

"""Resident memory per idle viewer, for each server."""

from benchmarks.bench import Bench
from benchmarks.load import Load
from benchmarks.processes import Broken, Server, Skipped
from benchmarks.rows import FAILED, Row, Spread
from benchmarks.servers import CAPTURE, RIVALS, dog

__all__ = ["measure_memory"]


def measure_memory(bench: Bench) -> list[Row]:
    label = f"memory per viewer, {bench.viewers:,} idle"
    rss, pss = _measure(bench, dog(bench))
    own = Spread.of([rss])
    rows = [
        Row(
            label=label,
            dog=own,
            measured_unit="KiB",
            value=own.median,
            unit="KiB",
            target=15,
            stretch=12,
            note=_pss_note("D.O.G.", pss),
        )
    ]
    for rival in RIVALS:
        try:
            rss, pss = _measure(bench, rival.start(bench))
        except Skipped as reason:
            rows.append(Row(label=label, rival_name=rival.name, skipped=str(reason)))
        except Broken as reason:
            rows.append(Row(label=label, rival_name=rival.name, skipped=f"{FAILED}{reason}"))
        else:
            theirs = Spread.of([rss])
            ratio = round(own.median / theirs.median, 3)
            rows.append(
                Row(
                    label=label,
                    dog=own,
                    rival_name=rival.name,
                    rival=theirs,
                    measured_unit="KiB",
                    value=ratio,
                    note=_pss_note(rival.name, pss),
                )
            )
    return rows


def _pss_note(name: str, pss: float) -> str:
    return f"PSS of {name}: {pss:.1f} KiB"


def _measure(bench: Bench, server: Server) -> tuple[float, float]:
    """Return the KiB of RSS and of PSS per viewer."""
    bench.show_progress(f"connecting viewers to {server.name}")
    with server:
        server.wait_until_idle()
        before = server.memory()
        with Load(bench, server, CAPTURE, viewers=bench.viewers) as load:
            load.wait_until_settled()
            after = server.memory()
    viewers_kib = bench.viewers * 1024
    return (after.rss - before.rss) / viewers_kib, (after.pss - before.pss) / viewers_kib

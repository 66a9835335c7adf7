"""Turns at the index: one thread at a time, saving first."""

import threading

from dog.snapshots.index_turns import IndexTurns


def test_a_save_waits_for_the_running_query_and_for_no_other() -> None:
    turns = IndexTurns()
    ended: list[str] = []
    queues = threading.Event()

    def use(name: str, *, saves: bool) -> None:
        with turns.take(saves=saves):
            ended.append(name)

    with turns.take(saves=False):
        queries = [threading.Thread(target=use, args=("query",), kwargs={"saves": False}) for _ in range(5)]
        for query in queries:
            query.start()
        save = threading.Thread(target=use, args=("save",), kwargs={"saves": True})
        save.start()
        while turns._saves_waiting == 0:
            queues.wait(0.001)
        assert ended == []
    for thread in (*queries, save):
        thread.join()
    assert ended == ["save", *["query"] * 5]


def test_an_error_ends_a_turn() -> None:
    turns = IndexTurns()
    for saves in True, False, True:
        try:
            with turns.take(saves=saves):
                raise ValueError
        except ValueError:
            pass
    with turns.take(saves=False):
        assert turns._saves_waiting == 0

"""Turns at the index: one thread at a time, saving first."""

import threading

from dog.snapshots.index_turns import IndexTurns, Turn


def test_a_save_waits_for_the_running_query_and_for_no_other() -> None:
    turns = IndexTurns()
    ended: list[str] = []
    queues = threading.Event()

    def use(name: str, *, turn: Turn) -> None:
        with turns.take(turn):
            ended.append(name)

    with turns.take(Turn.QUERY):
        queries = [threading.Thread(target=use, args=("query",), kwargs={"turn": Turn.QUERY}) for _ in range(5)]
        for query in queries:
            query.start()
        save = threading.Thread(target=use, args=("save",), kwargs={"turn": Turn.SAVE})
        save.start()
        while turns._waiting[Turn.SAVE] == 0:
            queues.wait(0.001)
        assert ended == []
    for thread in (*queries, save):
        thread.join()
    assert ended == ["save", *["query"] * 5]


def test_an_error_ends_a_turn() -> None:
    turns = IndexTurns()
    for turn in Turn.SAVE, Turn.QUERY, Turn.SAVE:
        try:
            with turns.take(turn):
                raise ValueError
        except ValueError:
            pass
    with turns.take(Turn.QUERY):
        assert turns._waiting[Turn.SAVE] == 0

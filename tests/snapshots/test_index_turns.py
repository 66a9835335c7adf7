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


def test_a_copy_lets_saves_and_queries_go_first_and_pauses_for_them() -> None:
    turns = IndexTurns()
    ended: list[str] = []
    queues = threading.Event()

    def use(turn: Turn) -> None:
        with turns.take(turn):
            ended.append(turn.name)

    def start(turn: Turn) -> threading.Thread:
        thread = threading.Thread(target=use, args=(turn,))
        thread.start()
        while turns._waiting[turn] == 0:
            queues.wait(0.001)
        return thread

    with turns.take(Turn.COPY):
        others = [start(turn) for turn in (Turn.COPY, Turn.QUERY, Turn.SAVE)]
        assert ended == []
        with turns.pause(Turn.COPY):
            for other in others[1:]:
                other.join()
        assert ended[:2] == ["SAVE", "QUERY"]
    others[0].join()
    assert ended == ["SAVE", "QUERY", "COPY"]

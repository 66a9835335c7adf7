"""Tests of the limits of each client address, with plain values."""

from hypothesis import given
from hypothesis import strategies as st

from dog.web.connections.connection_limits import Client, ClientLimits, Place, Places

ADDRESS = "192.0.2.1"


class Request:
    """A request that keeps its place."""

    def __init__(self) -> None:
        self.place: Place | None = None

    def start(self, place: Place) -> None:
        assert self.place is None, "a request is started once"
        self.place = place


def begin(client: Client) -> Request:
    request = Request()
    client.request_place(request)
    return request


def test_requests_get_places_in_order() -> None:
    client = Client(ClientLimits(requests=2))
    first, second, third, fourth = (begin(client) for _ in range(4))
    assert first.place
    assert second.place
    assert (third.place, fourth.place, client.waiting) == (None, None, 2)
    second.place.release()
    assert third.place
    assert not fourth.place
    second.place.release()
    assert not fourth.place, "a place is released once"
    first.place.release()
    assert fourth.place
    assert (client.requests, client.waiting) == (2, 0)


def test_a_request_that_stops_waiting_is_not_started() -> None:
    client = Client(ClientLimits(requests=1))
    first, second, third = (begin(client) for _ in range(3))
    client.stop_waiting(second)
    client.stop_waiting(second)
    assert first.place
    first.place.release()
    assert not second.place
    assert third.place


class Refused(Request):
    """A request that releases its place at once, like one with a large head."""

    def start(self, place: Place) -> None:
        super().start(place)
        place.release()


def test_10000_requests_that_release_their_place_at_once_all_start() -> None:
    client = Client(ClientLimits(requests=1))
    first, refused = begin(client), [Refused() for _ in range(10_000)]
    for request in refused:
        client.request_place(request)
    last = begin(client)
    assert first.place
    first.place.release()
    assert all(request.place for request in refused)
    assert last.place
    assert (client.requests, client.waiting) == (1, 0)


def test_a_request_that_becomes_a_viewer_frees_its_place() -> None:
    client = Client(ClientLimits(requests=1, viewers=1))
    first, second = begin(client), begin(client)
    assert first.place
    assert first.place.can_become_viewer
    first.place.count_as_viewer()
    first.place.count_as_viewer()
    assert second.place
    assert (client.requests, client.viewers) == (1, 1)
    assert not second.place.can_become_viewer
    first.place.release()
    first.place.count_as_viewer()
    assert (client.requests, client.viewers) == (1, 0)
    assert second.place.can_become_viewer
    assert not first.place.can_become_viewer, "it has ended"


def test_each_address_has_its_own_limits() -> None:
    places = Places(ClientLimits(requests=1))
    here, elsewhere = begin(places.find(ADDRESS)), begin(places.find("192.0.2.2"))
    assert here.place
    assert elsewhere.place
    waiting = begin(places.find(ADDRESS))
    assert (waiting.place, places.waiting) == (None, 1)


def test_a_client_is_forgotten_after_its_last_request() -> None:
    places = Places(ClientLimits(requests=1))
    client = places.find(ADDRESS)
    first, second = begin(client), begin(client)
    for request in (first, second):
        places.forget(ADDRESS)
        assert places.find(ADDRESS) is client
        assert request.place
        request.place.release()
    places.forget(ADDRESS)
    places.forget(ADDRESS)
    assert len(places) == 0


@given(st.data(), st.integers(1, 3), st.integers(1, 3))
def test_no_limit_is_exceeded_and_no_place_is_lost(data: st.DataObject, requests: int, viewers: int) -> None:
    client = Client(ClientLimits(requests=requests, viewers=viewers))
    open_requests: list[Request] = []
    for _ in range(data.draw(st.integers(0, 30))):
        match data.draw(st.sampled_from(["begin", "view", "end"])):
            case "begin":
                open_requests.append(begin(client))
            case action if open_requests:
                request = data.draw(st.sampled_from(open_requests))
                if request.place is not None and action == "view" and request.place.can_become_viewer:
                    request.place.count_as_viewer()
                elif action == "end":
                    open_requests.remove(request)
                    client.stop_waiting(request)
                    if request.place is not None:
                        request.place.release()
        assert client.requests <= requests
        assert client.viewers <= viewers
        assert client.requests + client.viewers == sum(request.place is not None for request in open_requests)
        assert client.waiting == 0 or client.requests == requests
    for request in open_requests:
        client.stop_waiting(request)
    for request in open_requests:
        if request.place is not None:
            request.place.release()
    assert client.is_empty

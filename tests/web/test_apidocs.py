"""The OpenAPI and AsyncAPI documents and the API page are complete."""

import json
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from dog.settings import Settings
from dog.web.apidocs.documents import DOCUMENTS
from dog.web.apidocs.response_headers import HEADERS
from dog.web.apidocs.schemas import OMIT_FROM_EXAMPLES
from dog.web.app import create_app
from dog.web.problems import STATUS
from tests.conftest import Run
from tests.support.heard import check_message, checked_messages

ASYNCAPI = Path(sys.executable).parent.parent / "share" / "asyncapi-3.0.0.json"
CODES_WITHOUT_OPERATION = {"expectation_failed", "head_too_big", "method_not_allowed"}
"""Error codes that no operation has."""

Document = dict[str, Any]


def read(tmp_path: Path, name: str, **settings: Any) -> Document:
    app = create_app(Settings(snapshots=tmp_path, **settings))
    document: Document = json.loads(getattr(app[DOCUMENTS], name).data)
    return document


@pytest.fixture
def openapi(tmp_path: Path) -> Document:
    return read(tmp_path, "openapi")


@pytest.fixture
def asyncapi(tmp_path: Path) -> Document:
    return read(tmp_path, "asyncapi")


def operations(openapi: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def check_example(schema: Document, example: Any, components: Document) -> None:
    whole = {**schema, "components": components}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(example)


# ---- valid documents


def test_openapi_document_is_valid(openapi: Document) -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # its import compiles grammars for seconds

    assert openapi["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(openapi).validate()


@pytest.mark.skipif(not ASYNCAPI.exists(), reason="no schema of AsyncAPI; tests/install_asyncapi.sh takes it with npm")
@pytest.mark.parametrize("base_url", [None, "https://dog.example/garden"])
def test_asyncapi_document_is_valid(tmp_path: Path, base_url: str | None) -> None:
    schema = json.loads(ASYNCAPI.read_text())
    jsonschema_rs.Draft7Validator(schema).validate(read(tmp_path, "asyncapi", base_url=base_url))


def test_documents_have_valid_references_and_schemas(openapi: Document, asyncapi: Document) -> None:
    for document in (openapi, asyncapi):
        for reference in set(re.findall(r'"\$ref":"#/([^"]+)"', json.dumps(document, separators=(",", ":")))):
            found = document
            for part in reference.split("/"):
                found = found[part]
        for schema in document["components"]["schemas"].values():
            jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_openapi_examples_match_their_schemas(openapi: Document) -> None:
    checked = 0
    components = openapi["components"]
    for _, operation in operations(openapi):
        answers = operation["responses"].values()
        contents = [operation["requestBody"]["content"]] if "requestBody" in operation else []
        contents += [answer.get("content", {}) for answer in answers]
        described = [*operation["parameters"]]
        described += [one for answer in answers for one in answer.get("headers", {}).values()]
        described += [media for content in contents for media in content.values() if "schema" in media]
        for one in described:
            examples = [one["example"]] if "example" in one else [each["value"] for each in one["examples"].values()]
            for example in examples:
                check_example(one["schema"], example, components)
                checked += 1
    assert checked > 200


def test_asyncapi_examples_match_their_schemas(asyncapi: Document) -> None:
    for name in asyncapi["channels"]["ws"]["messages"]:
        message = asyncapi["components"]["messages"][name]
        assert message["examples"]
        for example in message["examples"]:
            assert example["payload"]["type"] == name
            check_example(message["payload"], example["payload"], asyncapi["components"])


# ---- complete documents


WITHOUT_HEAD = {"HEAD /ws", "HEAD /preview"}
"""A handshake has no HEAD."""


async def test_openapi_document_has_exactly_the_routes_of_the_server(run: Run, openapi: Document) -> None:
    app = (await run()).client.app
    assert app is not None
    routes = {f"{route.method} {route.resource.canonical}" for route in app.router.routes() if route.resource}
    written = {name for name, _ in operations(openapi)}
    assert {route for route in routes if not route.startswith("HEAD ")} == written
    assert {f"HEAD{name.removeprefix('GET')}" for name in written if name.startswith("GET ")} - WITHOUT_HEAD == {
        route for route in routes if route.startswith("HEAD ")
    }


def test_operations_have_a_unique_id_and_a_tag(openapi: Document) -> None:
    names = [operation["operationId"] for _, operation in operations(openapi)]
    assert len(names) == len(set(names))
    assert {tag for _, operation in operations(openapi) for tag in operation["tags"]} == {
        tag["name"] for tag in openapi["tags"]
    }


def test_openapi_document_has_every_error_code_with_its_status(openapi: Document) -> None:
    named = set()
    for _, operation in operations(openapi):
        for status, answer in operation["responses"].items():
            problem = answer.get("content", {}).get("application/problem+json")
            if problem:
                codes = problem["schema"]["properties"]["code"]["enum"]
                assert {STATUS[code] for code in codes} == {int(status)}
                named |= set(codes)
    assert named == STATUS.keys() - CODES_WITHOUT_OPERATION


def test_every_type_and_field_has_a_description(openapi: Document, asyncapi: Document) -> None:
    schemas = openapi["components"]["schemas"] | asyncapi["components"]["schemas"]
    assert [name for name, schema in schemas.items() if not schema["description"]] == []
    whole = {
        f"{kind}.{name}": inside for kind, schema in schemas.items() for name, inside in schema["properties"].items()
    }
    assert [name for name, inside in whole.items() if not inside.get("description")] == []
    parameters = [one for _, operation in operations(openapi) for one in operation["parameters"]]
    assert [one["name"] for one in parameters if not one["description"]] == []


def test_every_description_of_a_header_is_used(openapi: Document) -> None:
    headers = {
        name
        for _, operation in operations(openapi)
        for answer in operation["responses"].values()
        for name in answer.get("headers", {})
    }
    assert headers == HEADERS.keys()


def test_fields_that_examples_leave_out_exist(openapi: Document, asyncapi: Document) -> None:
    schemas = openapi["components"]["schemas"] | asyncapi["components"]["schemas"]
    for kind, names in OMIT_FROM_EXAMPLES.items():
        assert names <= schemas[kind]["properties"].keys() - set(schemas[kind]["required"]), kind


# ---- the server's URL


def test_server_url_without_base_url_is_relative_to_the_document(openapi: Document, asyncapi: Document) -> None:
    assert openapi["servers"] == [{"url": ".."}]
    assert "servers" not in asyncapi


def test_server_urls_come_from_base_url(tmp_path: Path) -> None:
    assert read(tmp_path, "openapi", base_url="https://dog.example/garden")["servers"] == [
        {"url": "https://dog.example/garden"}
    ]
    servers = read(tmp_path, "asyncapi", base_url="https://dog.example/garden")["servers"]
    assert servers["ws"] == {"host": "dog.example", "pathname": "/garden", "protocol": "wss"}
    assert servers["events"] == {"host": "dog.example", "pathname": "/garden", "protocol": "https"}


# ---- messages on the wire


async def test_server_sends_only_messages_of_the_asyncapi_document(run: Run) -> None:
    running = await run(dead_time=0.0)
    with checked_messages():
        async with running.watch() as events:
            await events.say(type="capture", request="one")
            assert (await events.read_until("ready"))[0]["type"] in ("reply", "capturing")
            await events.say(type="capture", request="one")
            await events.say(type="nothing")
            await events.say(type="ping")
            assert [message["type"] for message in await events.read_until("pong")] == ["reply", "error", "pong"]
    async with running.client.get("/api/cameras") as answer:
        assert (await answer.json())["cameras"][0]["latest"]["capture"] == 1


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"viewers"}',
        '{"type":"viewers","count":"3"}',
        '{"type":"viewers","count":3,"new":true}',
        '{"type":"capture"}',
        '{"type":"unheard"}',
        '{"type":"pong","request":null}',
        "[]",
        '{"type":"capturing","at":"2026-11-22T11:14:38.123Z","camera":"main","capture":1}',  # without a number
        '{"type":"capturing","seq":1,"cursor":"1-1","at":"today","camera":"main","capture":1}',
    ],
)
async def test_message_that_is_not_in_the_document_fails_a_test(message: str) -> None:
    async def send_message(connection: ServerConnection) -> None:
        await connection.send(message)

    with pytest.raises(AssertionError):
        check_message(message)
    with checked_messages():
        async with serve(send_message, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with connect(f"ws://127.0.0.1:{port}/ws?since=1-1") as connection:
                with pytest.raises(AssertionError):
                    await connection.recv()
            async with connect(f"ws://127.0.0.1:{port}/elsewhere") as connection:
                assert await connection.recv() == message


# ---- the page


class Page(HTMLParser):
    """A page's links, loaded files and anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.add(tag)
        if found.get("id"):
            self.anchors.append(str(found["id"]))
        if found.get("href"):
            (self.links if tag == "a" else self.loaded).append(str(found["href"]))
        if found.get("src"):
            self.loaded.append(str(found["src"]))


async def test_api_page_has_every_operation_message_and_type(run: Run, openapi: Document, asyncapi: Document) -> None:
    running = await run()
    async with running.client.get("/api") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        page = Page(await answer.text())
    assert len(page.anchors) == len(set(page.anchors))
    anchors = set(page.anchors)
    assert {operation["operationId"] for _, operation in operations(openapi)} <= anchors
    assert {f"message-{name}" for name in asyncapi["channels"]["ws"]["messages"]} <= anchors
    assert {f"type-{name}" for name in openapi["components"]["schemas"]} <= anchors
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= anchors


async def test_api_page_loads_no_script_and_nothing_from_other_sites(run: Run) -> None:
    running = await run()
    async with running.client.get("/api") as answer:
        page = Page(await answer.text())
    assert "iframe" not in page.tags
    assert [url.rpartition(".")[2] for url in page.loaded if "static/" in url].count("css") == 1
    assert not [url for url in page.loaded if url.endswith(".js")]
    for url in {*page.links, *page.loaded}:
        if not url.startswith("#"):
            assert url.startswith("./"), url
            async with running.client.get(f"/{url.removeprefix('./')}") as found:
                assert found.status == 200, url


@pytest.mark.parametrize("path", ["/api", "/api/openapi.json", "/api/asyncapi.json"])
async def test_documents_have_an_etag(run: Run, path: str) -> None:
    running = await run()
    async with running.client.get(path) as first, running.client.get(path) as second:
        assert await first.read() == await second.read()
        tag = first.headers["ETag"]
    async with running.client.get(path, headers={"If-None-Match": tag}) as again:
        assert again.status == 304
    async with running.client.head(path) as head:
        assert (head.status, await head.read()) == (200, b"")

"""The types that the code parses with and answers with, as JSON Schema, with a word and an example for each.

What we hear may leave out what has a default, or say null for nothing. What we say leaves out what has nothing to say:
so null is never said where it is the default, and the numbers that the hub puts in are always there.
"""

import re
from typing import Any

import msgspec

from dog.web.apidocs.descriptions import FIELDS, OMIT_FROM_EXAMPLES, TYPES, FieldDoc

__all__ = ["Schema", "Schemas", "find_word", "name_of"]

Schema = dict[str, Any]

PLACE = "#/components/schemas/{name}"
NUMBERED = {"seq", "cursor"}
"""What an event has no right value for until the hub numbers it."""


def name_of(schema: Schema) -> str | None:
    """The name of the type that a schema refers to."""
    return schema["$ref"].rpartition("/")[2] if "$ref" in schema else None


def find_word(type_name: str, field: str) -> FieldDoc:
    return FIELDS.get(f"{type_name}.{field}") or FIELDS[field]


class Schemas:
    """The schemas of all types that were asked for, under the names of their types: `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def request_schema(self, kind: Any) -> Schema:
        """The schema of something that others say to us."""
        return self._add(kind, response_schema=False)

    def response_schema(self, kind: Any) -> Schema:
        """The schema of something that we say."""
        return self._add(kind, response_schema=True)

    def fields(self, struct: type[msgspec.Struct]) -> list[tuple[str, bool, Schema, FieldDoc]]:
        """What can stand beside a request: name, whether it must, its schema, its word. Null can't be said there."""
        (_,), components = msgspec.json.schema_components((struct,))
        whole = components[struct.__name__]
        return [
            (name, name in whole["required"], _without_null(schema), find_word(struct.__name__, name))
            for name, schema in whole["properties"].items()
        ]

    def example(self, schema: Schema) -> Any:
        """A value of that schema, made of the words of its fields."""
        name = name_of(schema)
        if name is None:
            return [self.example(schema["items"])] if "items" in schema else {"status": "ok"}
        found = {}
        for field, inside in self.components[name]["properties"].items():
            if field in OMIT_FROM_EXAMPLES.get(name, ()):
                continue
            found[field] = self._value(inside, find_word(name, field))
        return found

    def _value(self, schema: Schema, word: FieldDoc) -> Any:
        if "const" in schema:
            return schema["const"]
        if word.example is not None and word.example != []:
            return word.example
        choices = schema.get("anyOf", [schema])
        return self.example(next(choice for choice in choices if choice.get("type") != "null"))

    def _add(self, kind: Any, *, response_schema: bool) -> Schema:
        (schema,), components = msgspec.json.schema_components((kind,), ref_template=PLACE)
        for name, component in components.items():
            if name not in self.components:
                self.components[name] = _finish(name, component, response_schema)
        return schema


def _finish(name: str, schema: Schema, response_schema: bool) -> Schema:
    properties = {}
    required = set(schema["required"])
    for field, inside in schema["properties"].items():
        word = find_word(name, field)
        if response_schema and field in NUMBERED:
            required.add(field)
        if (response_schema and "default" in inside) or inside.get("default", 0) is None:
            inside = _without_default(inside, keep_null=not response_schema)
        if inside.get("enum") and len(inside["enum"]) == 1:
            inside = {"const": inside["enum"][0]}
        properties[field] = {**inside, "description": word.what, **word.more}
    return {
        "title": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name),
        "description": TYPES[name],
        "type": "object",
        "properties": properties,
        "required": [field for field in properties if field in required],
    }


def _without_default(schema: Schema, *, keep_null: bool) -> Schema:
    schema = {key: value for key, value in schema.items() if key != "default"}
    return schema if keep_null else _without_null(schema)


def _without_null(schema: Schema) -> Schema:
    """What it may be beside null."""
    schema = {key: value for key, value in schema.items() if not (key == "default" and value is None)}
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return {**schema, **choices[0]}
    return {**schema, "anyOf": choices} if choices else schema

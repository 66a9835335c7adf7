"""JSON Schemas of request and response types, with examples.

A type is described by its docstring, a field by `doc()` of dog.protocol.

A request may leave out a field with a default, or send null for it. A response leaves such a field out, so its schema
does not allow null there. It always has the numbers that the hub adds.
"""

import re
from typing import Any

import msgspec

__all__ = ["OMIT_FROM_EXAMPLES", "Schema", "Schemas", "name_of"]

Schema = dict[str, Any]

REF_TEMPLATE = "#/components/schemas/{name}"
NUMBERED = {"seq", "cursor"}
"""Fields of an event that the hub sets."""
OMIT_FROM_EXAMPLES = {
    "CameraChanged": {"reason"},
    "CameraStatus": {"capture", "reason", "since"},
    "CaptureBody": {"code", "message", "outcome", "retry_after"},
    "LinkBody": {"expired"},
    "Quality": {"found", "retaken"},
    "Reply": {"age", "captured_at", "retry_after", "snapshot", "url"},
}
"""Optional fields that are left out of the examples, for clarity."""


def name_of(schema: Schema) -> str | None:
    """Return the name of the type that a schema refers to."""
    return schema["$ref"].rpartition("/")[2] if "$ref" in schema else None


class Schemas:
    """JSON Schemas of types, collected by name in `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def request_schema(self, kind: Any) -> Schema:
        """Return the schema of a type that clients send."""
        return self._add(kind, is_response=False)

    def response_schema(self, kind: Any) -> Schema:
        """Return the schema of a type that the server sends."""
        return self._add(kind, is_response=True)

    def parameters(self, struct: type[msgspec.Struct]) -> list[tuple[str, bool, Schema]]:
        """Return each parameter's name, requiredness and schema."""
        (_,), components = msgspec.json.schema_components((struct,))
        whole = components[struct.__name__]
        return [
            (name, name in whole["required"], _without_null(schema)) for name, schema in whole["properties"].items()
        ]

    def example(self, schema: Schema) -> Any:
        """Return a value of that schema, made from the examples of its fields."""
        name = name_of(schema)
        if name is None:
            return [self.example(schema["items"])] if "items" in schema else {"status": "ok"}
        return {
            field: self._value(inside)
            for field, inside in self.components[name]["properties"].items()
            if field not in OMIT_FROM_EXAMPLES.get(name, ())
        }

    def _value(self, schema: Schema) -> Any:
        if "const" in schema:
            return schema["const"]
        if "examples" in schema:
            return schema["examples"][0]
        choices = schema.get("anyOf", [schema])
        return self.example(next(choice for choice in choices if choice.get("type") != "null"))

    def _add(self, kind: Any, *, is_response: bool) -> Schema:
        (schema,), components = msgspec.json.schema_components((kind,), ref_template=REF_TEMPLATE)
        for name, component in components.items():
            if name not in self.components:
                self.components[name] = _document_fields(name, component, is_response)
        return schema


def _document_fields(name: str, schema: Schema, is_response: bool) -> Schema:
    properties = {}
    required = set(schema["required"])
    for field, inside in schema["properties"].items():
        if is_response and field in NUMBERED:
            required.add(field)
        if (is_response and "default" in inside) or inside.get("default", 0) is None:
            inside = {key: value for key, value in inside.items() if key != "default"}
            if is_response:
                inside = _without_null(inside)
        if inside.get("enum") and len(inside["enum"]) == 1:
            inside = {"const": inside["enum"][0], "description": "The type of the message."}
        for choice in inside.get("anyOf", ()):  # a type's documentation moves to the field that may be null
            inside |= {key: choice.pop(key) for key in ("description", "examples") if key in choice}
        properties[field] = inside
    return {
        "title": re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name),
        "description": " ".join(schema["description"].split()),
        "type": "object",
        "properties": properties,
        "required": [field for field in properties if field in required],
    }


def _without_null(schema: Schema) -> Schema:
    """Return the schema without null."""
    schema = {key: value for key, value in schema.items() if not (key == "default" and value is None)}
    choices = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return {**schema, **choices[0]}
    return {**schema, "anyOf": choices} if choices else schema

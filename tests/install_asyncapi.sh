#!/bin/sh
# See that there is AsyncAPI's own schema for tests/web/test_apidocs.py, which skips what needs it where there is none: it is
# taken out of the npm package @asyncapi/specs, into .venv.
schema="$PWD/.venv/share/asyncapi-3.0.0.json"
[ -f "$schema" ] && exit 0
command -v npm >/dev/null 2>&1 || { echo "Without npm the AsyncAPI document is not held to AsyncAPI's own schema." >&2; exit 0; }
echo "Taking AsyncAPI's schema from the package @asyncapi/specs ..."
folder="$(mktemp -d)" || exit 0
(
    cd "$folder" && npm pack --silent @asyncapi/specs@6.11.1 >/dev/null && tar -xzf asyncapi-specs-*.tgz package/schemas/3.0.0.json &&
        mkdir -p "${schema%/*}" && mv package/schemas/3.0.0.json "$schema"
) || echo "AsyncAPI's schema could not be taken from the package @asyncapi/specs; the test that needs it is skipped." >&2
rm -rf "$folder"

"""Keep the compiled templates: each application would compile them again.

That takes a tenth of a second, and tests start a thousand applications.
"""

import functools
import types
from typing import Any

import jinja2
from jinja2.bccache import Bucket

__all__ = ["keep_compiled_templates"]


class CompiledTemplates(jinja2.BytecodeCache):
    """The compiled templates of this process, by name and source."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], types.CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._codes[bucket.key, bucket.checksum] = bucket.code


@functools.cache
def keep_compiled_templates() -> None:
    """Let all environments of this process use the same compiled templates."""
    templates = CompiledTemplates()
    initialize = jinja2.Environment.__init__

    @functools.wraps(initialize)
    def initialize_with_cache(self: jinja2.Environment, *arguments: Any, **options: Any) -> None:
        initialize(self, *arguments, **{"bytecode_cache": templates, **options})

    jinja2.Environment.__init__ = initialize_with_cache  # type: ignore[method-assign]

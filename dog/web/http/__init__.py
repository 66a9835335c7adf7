"""HTTP that handlers share: bodies, conditional responses, captures."""

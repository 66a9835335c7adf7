"""HTTP that several handlers share: bodies, conditional responses, captures."""

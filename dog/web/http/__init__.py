"""HTTP that several handlers share."""

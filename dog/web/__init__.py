"""The HTTP service. app.py creates its parts, the others serve requests."""

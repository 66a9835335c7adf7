"""The HTTP service. app.py creates all its parts, and the other modules serve requests."""

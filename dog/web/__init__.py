"""The web side: one file puts everything together (app.py), the others answer."""

"""D.O.G.: a realtime camera on a web page. A press anywhere, the photo everywhere."""

__version__ = "0.1.0"

"""Middleware: the steps of a request before its handler, and of its response after it."""

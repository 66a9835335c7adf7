"""Middleware: the steps of a request before its handler, and after it."""

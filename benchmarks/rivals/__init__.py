"""Rivals of the push: other servers, written as their docs show.

Each sends a viewer's message to all viewers. Each is a process that prints `listening on PORT` when it listens.
"""

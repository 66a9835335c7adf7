"""Rivals of the push: other servers, each written as its own documentation shows.

Each sends a viewer's message to all viewers. Each is a process that prints `listening on PORT` when it listens.
"""

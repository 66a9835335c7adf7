"""Captures: the queue, and the task that owns a camera."""

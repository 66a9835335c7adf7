"""Captures: the queue, the task that owns a camera, its live view, and retention."""

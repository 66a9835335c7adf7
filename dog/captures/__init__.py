"""Captures: the queue, the task of a camera, its live view, retention."""

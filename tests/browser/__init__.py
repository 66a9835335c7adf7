"""The pages in Chromium, against a real server.

Tests wait for events, never for time.
"""

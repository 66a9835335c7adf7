"""The pages in a real Chromium, against the real server. Each test waits for what it expects to see, never for time."""

"""The tests, one file a room, the same name; a test is a sentence about behaviour."""

"""Request handlers, one file for each subject."""

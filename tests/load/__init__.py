"""Tests under load and after crashes, with a short and a long form.

`make test` runs the short form, and `make test-load` the long one.
"""

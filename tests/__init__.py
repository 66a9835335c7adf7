"""The tests, in the same folders as the code.

The name of a test is a sentence about behaviour.
"""

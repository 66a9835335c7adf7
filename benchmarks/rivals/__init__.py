"""What the push is held against: the same push in other servers, each as its own documentation has it.

What a viewer says is told to all of them. Each is a process that prints `listening on PORT` once it does.
"""

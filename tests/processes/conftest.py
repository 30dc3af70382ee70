"""`peers.py` is a script of its own."""

collect_ignore = ["peers.py", "cases.py"]

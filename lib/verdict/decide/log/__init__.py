"""The audit: every decision in a log that is checked, explained in words, and replayed.

Run `python -m verdict.decide.log --help`. How fast, and in how much memory, is measured by `make bench`.
"""

"""What caching the frozen computation saves, what the machine allows, how memory grows: `python -m tests.bench`."""

"""Which stages there are, when each is made again, and how one is run."""

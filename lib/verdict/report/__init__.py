"""From executed notebooks and stored numbers to offline HTML."""

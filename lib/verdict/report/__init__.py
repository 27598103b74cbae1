"""From executed notebooks and stored numbers to offline HTML."""

# Beside the pages of a copy that is kept in git, and of no other report: what it was made from.
PUBLISHED = "published.json"

"""Predictions of a kept model for pairs that nobody has labelled, as a CSV file that can be checked later."""

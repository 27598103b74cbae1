"""Scores of predictions, and intervals and tests by resampling images."""

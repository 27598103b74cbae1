"""Concepts that the two encoders share."""

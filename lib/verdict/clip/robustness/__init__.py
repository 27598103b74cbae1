"""Factors, corruptions, shifts and tasks that break the encoder."""

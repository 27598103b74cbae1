"""Scenes of handwritten digits and sentences about them, made here."""

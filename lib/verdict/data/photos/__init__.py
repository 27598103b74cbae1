"""Photographs: the A2 pairs and SNLI-VE."""

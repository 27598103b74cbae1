"""Dual encoders: images and words in one space, what they hold, how they break, what they share."""

SHIPPED = "digits_clip"
TRAINED = "trained"
# Of an encoder's relatives: itself, and the one that holds none of its weights.
WHOLE = "whole"
UNTRAINED = "untrained"

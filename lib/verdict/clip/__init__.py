"""Dual encoders: images and words in one space, what they hold, how they break, what they share."""

SHIPPED = "digits_clip"

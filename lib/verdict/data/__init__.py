"""Sources of (image, hypothesis) pairs, and the checks that every source passes."""

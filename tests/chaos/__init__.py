"""Faults on purpose: small reports are disturbed at random moments, and what they store afterwards is compared."""

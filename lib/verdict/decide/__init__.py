"""From logits to a decision: temperature, sets, signals, people, policy, log."""

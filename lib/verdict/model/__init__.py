"""The network and its freeze plan, features, training, answers."""

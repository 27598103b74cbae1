"""The dual encoder: its files, embeddings, and what it answers."""

"""What embeddings and similarities encode."""

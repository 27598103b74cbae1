"""The user's own tables, pictures and saved logits."""

"""Pictures with classes and factors, and the words for them."""

"""What the pages of the report compute, a module for each subject."""

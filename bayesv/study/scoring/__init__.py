"""What is scored of an estimate against the truth."""

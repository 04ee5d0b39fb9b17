"""What a scenario says, in words and numbers: its keys, laws, files and objects."""

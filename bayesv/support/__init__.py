"""What every room may use: arguments, files, memory, processes and progress."""

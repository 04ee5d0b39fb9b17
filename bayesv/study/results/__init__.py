"""What a study found: rows in memory and on disk, and performance over replicates."""

"""What is done with a whole log: compaction and repair."""

"""What the log's lines say: records, and how they are encoded."""

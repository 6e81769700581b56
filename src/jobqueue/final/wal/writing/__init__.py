"""How a log is written: batches, the log's thread, the active segment."""

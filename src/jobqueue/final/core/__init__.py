"""The queue's jobs: one state under one mutex, which the caller of every method holds."""

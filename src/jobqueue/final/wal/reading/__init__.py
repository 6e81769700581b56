"""How a log is read: batches, their order, damage, and the jobs that they tell of."""

"""How a queue is made, restored, drained and stopped; forks and the interpreter's exit."""

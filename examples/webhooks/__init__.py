"""Webhooks delivered by a durable queue whose process is killed half-way: nothing is lost.

`python -m examples.webhooks` runs it; the extra `examples` installs what it needs. What to copy
into a program of your own is `sender.py`.

- `sender.py`: the queue, the handler that delivers one event, and the loop that enqueues them
- `events.py`: the events, the same ones for the same seed
- `receiver.py`: an HTTP server whose endpoints fail in the ways of real ones
- `scenario.py`: starts both, kills the sender, starts it again, watches
- `audit.py`: what became of every event, by the receiver's record and by the sender's acks
- `lines.py`: the files of those records
- `screen.py`: progress and results, on a terminal or as plain lines
"""

"""Webhooks delivered by a durable queue whose process is killed half-way: nothing is lost.

`python -m examples.webhooks` runs it; the extra `examples` installs what it needs. What to copy
into a program of your own is `sender.py`.

- `sender.py`: the queue, the handler that delivers one event, and the loop that enqueues them
- `events.py`: the events, the same ones for the same seed
- `receiver.py`: an HTTP server whose endpoints fail in the ways of real ones
- `scenario.py`: starts both, kills the sender, starts it again, watches
- `audit.py`: what became of every event, by the receiver's record and by the sender's acks
- `results.py`: the tables at the end

What all examples share stands beside this folder: the processes (`children.py`), the files of
records (`lines.py`), the progress (`screen.py`), how a command ends (`command.py`).
"""

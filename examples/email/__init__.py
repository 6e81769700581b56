"""E-mails handed to a real SMTP server by a durable queue whose process is killed half-way.

`python -m examples.email` runs it; the extra `examples` installs what it needs. What to copy
into a program of your own is `sender.py`.

- `sender.py`: the queue, the handler that hands over one e-mail, and the loop that enqueues them
- `mails.py`: the e-mails, the same ones for the same seed
- `server.py`: an SMTP server (aiosmtpd) that refuses, defers and dawdles as real ones do
- `scenario.py`: starts both, kills the sender, starts it again, watches
- `audit.py`: what became of every e-mail: lost, altered, dead, or sent twice, and why
- `results.py`: the tables at the end
"""

"""One queue for several processes: its owner serves it over a Unix socket, the others ask.

`server.py` is the owner's side, `client.py` and `link.py` are a client's. `messages.py` is what
they say to each other, `address.py` where. A queue that is not shared imports nothing of it.
"""

"""Pictures made smaller by a queue, in threads and in processes: which of them is faster, and why.

`python -m examples.images` runs it; the extra `examples` installs what it needs. What to copy
into a program of your own is `work.py`.

- `work.py`: the two handlers: pictures in three sizes, and a placeholder of 28 characters
- `blurhash.py`: that placeholder, computed in Python
- `pictures.py`: the pictures, the same ones for the same seed, and some that are broken
- `pipeline.py`: a queue for each setting, what each has to do, and how long it takes
- `timed.py`: the handlers with a look at the clocks
- `audit.py`: whether all of them made the same, and all of it
- `results.py`: the tables at the end, and what follows from them
"""

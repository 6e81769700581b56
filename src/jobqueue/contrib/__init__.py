"""The queue within the frameworks that people have; each module is for one of them.

asgi.py      FastAPI, Starlette, Litestar: a lifespan
flask.py     an extension
django/      an application with a backend for Django's tasks

Nothing here is imported by anything else, and each module alone imports its framework, which the
extra of its name installs.
"""

__all__: list[str] = []

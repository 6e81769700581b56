"""The dashboard: what a queue does, in a browser, and what is to be done about it.

    from jobqueue.web import dashboard, serve_dashboard

    app.mount("/jobs", dashboard(queue, access=who))  # FastAPI, Starlette and their like
    with serve_dashboard(queue, port=8099) as server:  # any program
        print(server.url)

It needs the extra `web` (Starlette, Jinja2, uvicorn). It uses the calls of the port `Queue` alone:
so it works for a queue in this process, for a client of one in another, and for whatever else has
these calls.
"""

try:
    from .app import Dashboard, dashboard
    from .formatting import as_text
    from .security import Access
    from .server import DashboardServer, serve_dashboard
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("anyio", "jinja2", "starlette", "uvicorn"):
        raise
    raise ModuleNotFoundError(
        f"jobqueue.web needs {error.name}, which is not installed: pip install 'jobqueue[web]'",
        name=error.name,
    ) from None

__all__ = ["Access", "Dashboard", "DashboardServer", "as_text", "dashboard", "serve_dashboard"]

"""Make an application log and count its requests."""

from fastapi import FastAPI

from heatlens_web.access import AccessLog, Observer, log_access


def observe_requests(app: FastAPI, *, server: bool) -> None:
    """Log each request; a server also counts it and answers `/metrics`. Call it last: it goes around everything.

    The list `app.state.observers` may get more of them until the first request.
    """
    app.state.observers = observers = list[Observer]([log_access])
    if server:
        from heatlens_web.prometheus import ServerMetrics  # a tenth of a second, which Lambda does not need

        metrics = ServerMetrics()
        metrics.install(app)
        observers.append(metrics.observe)
    app.add_middleware(AccessLog, observers=observers)

"""Build the FastAPI application of the API, for Lambda and for the plain server."""

from concurrent.futures import Future
from html import escape
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles

import heatlens
from heatlens.registry import ModelRegistry
from heatlens.settings import read_table
from heatlens_aws.settings import AwsSettings
from heatlens_web import audit, large_replies, problems
from heatlens_web.admission import check_accepting
from heatlens_web.allowed_hosts import AllowedHosts
from heatlens_web.api_keys import ApiKeys, RequireApiKey
from heatlens_web.base_path import BARE, BasePath
from heatlens_web.batches import routes as batch_routes
from heatlens_web.cors import cors
from heatlens_web.head import HeadAsGet
from heatlens_web.observe import observe_requests
from heatlens_web.openapi import describe
from heatlens_web.request_id import RequestId
from heatlens_web.routes import router
from heatlens_web.security_headers import REVALIDATED, SecurityHeaders, page_headers
from heatlens_web.server_state import open_server
from heatlens_web.settings import Deployment, ServerSettings
from heatlens_web.state import load_state
from heatlens_web.text_options import known_query

STATIC = Path(__file__).parent / "static"
COLORMAPS = Path(heatlens.__file__).parent / "render" / "colormaps"  # the page draws with the same tables


def create_app(
    settings: ServerSettings, *, deployment: Deployment, loading: Future[ModelRegistry] | None = None
) -> FastAPI:
    """Build the application with its model loaded, or with the reason why it is not.

    `loading` are models that a thread loads already; without it they are loaded here.
    """
    # The framework's /docs page loads its script from a CDN, which fails offline and tells others who reads it.
    # Its redirect of an address with a trailing slash names the scheme and host that this server sees: behind a proxy,
    # an image would be sent again unencrypted, or past the gateway's stage.
    app = FastAPI(title="Heatlens", version=heatlens.__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    describe(app)
    aws = read_table(AwsSettings)
    app.state.batches = batch_routes.open_staging(aws)
    app.state.replies = large_replies.open_replies(aws)
    app.state.page_headers = page_headers(aws.bucket_origin)
    audit.configure_audit_logger(aws)
    app.add_middleware(audit.MatchedRoute)
    app.add_middleware(HeadAsGet)
    if deployment == "server":
        _guard(app, settings)
    app.add_middleware(audit.Audit)
    app.add_middleware(RequestId)
    app.add_middleware(BasePath, base_path=settings.base_path)
    if deployment == "server" and settings.cors_origins:
        app.add_middleware(CORSMiddleware, **cors(settings.cors_origins))
    app.add_middleware(SecurityHeaders)
    app.include_router(batch_routes.router, dependencies=[Depends(check_accepting), Depends(known_query)])
    others = [router, *(_kserve() if deployment == "server" else [])]
    for routes in others:
        app.include_router(routes, dependencies=[Depends(known_query)])
    app.state.named_routes = [route for routes in (batch_routes.router, *others) for route in routes.routes]
    app.mount("/static/colormaps", _StaticFiles(directory=COLORMAPS), name="colormaps")
    app.mount("/static", _StaticFiles(directory=STATIC), name="static")
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_api_route("/docs", _docs, include_in_schema=False)
    problems.install(app, settings)
    observe_requests(app, server=deployment == "server")
    app.state.heatlens = state = load_state(settings, deployment, loading)  # last: what is above needs no model
    app.state.server = open_server(state) if deployment == "server" else None
    if deployment == "server" and app.state.batches:
        for model in state.models.loaded.values():
            model.slowdown()  # measured before requests slow the machine down
    return app


class _StaticFiles(StaticFiles):
    """Files of the pages: browsers ask whether they have changed, and send their own copy if not."""

    def file_response(self, *arguments: Any, **named: Any) -> Response:  # noqa: ANN401 - those of the framework
        response = super().file_response(*arguments, **named)
        response.headers["cache-control"] = REVALIDATED
        return response


def _guard(app: FastAPI, settings: ServerSettings) -> None:
    app.add_middleware(AllowedHosts, hosts=settings.allowed_hosts)
    if keys := ApiKeys(settings.api_keys.get_secret_value()):
        app.add_middleware(RequireApiKey, keys=keys)


def _kserve() -> list[APIRouter]:
    from heatlens_web import kserve, kserve_v2  # a tenth of a second, which Lambda does not need

    return [kserve.router, kserve_v2.router]


async def _page(request: Request) -> Response:
    headers = request.app.state.page_headers
    if not request.scope.get(BARE):
        return FileResponse(STATIC / "index.html", headers=headers)
    # The page's links are relative, and the address does not end with a slash.
    base = f'<base href="{escape(request.scope["root_path"])}/">'
    page = (STATIC / "index.html").read_text(encoding="utf-8").replace("<head>", f"<head>\n{base}", 1)
    return HTMLResponse(page, headers=dict(headers))


async def _docs(request: Request) -> FileResponse:
    return FileResponse(STATIC / "docs.html", headers=request.app.state.page_headers)

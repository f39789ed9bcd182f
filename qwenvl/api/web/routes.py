"""Serves the page, to whoever asks: it holds no secret, and asks for the key that its requests need."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from qwenvl.api.web.assets import ASSETS, Page

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Where the browser knows it, no text can become HTML or code, whatever the page's own scripts would do.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), clipboard-write=(self)",
    "Cross-Origin-Resource-Policy": "same-origin",
}

REVALIDATED = "no-cache"
KEPT = "public, max-age=31536000, immutable"
"""For files whose path changes with their content."""


def web_routes(page: Page) -> APIRouter:
    """``/`` and the files that it loads. They are no part of the API, so ``/openapi.json`` does not name them."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return _response(page, request, REVALIDATED)

    @router.api_route(f"/{ASSETS}/{{version}}/{{name:path}}", methods=["GET", "HEAD"])
    async def asset(request: Request) -> Response:
        return _response(page, request, KEPT)

    return router


def _response(page: Page, request: Request, cache_control: str) -> Response:
    asset = page.assets.get(request.scope["path"])
    if asset is None:
        raise HTTPException(404)
    headers = {**HEADERS, "ETag": asset.etag, "Cache-Control": cache_control}
    known = request.headers.get("if-none-match", "")
    if asset.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)

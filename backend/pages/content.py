"""A stored content on its way to a browser: pictures are shown, everything else is saved, nothing is run."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, Response

# Only what the first bytes prove to be a picture of these kinds is ever shown in place: never SVG, never HTML.
_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, max-age=60",
}
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".webp")


def picture_type(path: Path) -> str | None:
    """The media type of a PNG, JPEG, GIF or WebP by its first bytes; None for every other content."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)


def send(path: Path, name: str) -> Response:
    """The content under ``name`` as the user knows it."""
    kind = picture_type(path)
    if kind:
        return FileResponse(path, media_type=kind, headers=_HEADERS)
    disposition = f"attachment; filename*=UTF-8''{quote(name.rsplit('/', 1)[-1], safe='')}"
    headers = {**_HEADERS, "Content-Disposition": disposition}
    return FileResponse(path, media_type="application/octet-stream", headers=headers)

"""The lines of a request's body: plain, compressed, or in the parts of a form."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

from starlette.requests import Request

from tidemill.api.dependencies import read_body
from tidemill.api.inputs import MAX_ROWS
from tidemill.errors import BodyTooLarge, RequestError

MOST_BYTES = 16 << 20  # of a body that is decompressed
WINDOW_BITS = zlib.MAX_WBITS | 32  # gzip and zlib, by their headers
GZIP_TYPES = ("application/gzip", "application/x-gzip")


async def lines_of(request: Request) -> list[str]:
    """The lines of a body in UTF-8, without empty ones.

    ``Content-Encoding`` gzip and deflate are decompressed, and so are parts of ``multipart/form-data`` whose type is
    gzip or zip.

    Raises:
        RequestError: it can't be decompressed, or is no text.
        BodyTooLarge: it is, or decompresses to, more than the limit.
    """
    body = await read_body(request)
    if request.headers.get("content-encoding", "identity").lower() in ("gzip", "x-gzip", "deflate"):
        body = decompressed(body)
    content_type = request.headers.get("content-type", "")
    texts = parts_in(body, content_type) if content_type.lower().startswith("multipart/form-data") else iter([body])
    try:
        lines = [line.removesuffix("\r") for text in texts for line in text.decode().split("\n")]
    except UnicodeDecodeError as error:
        raise RequestError("the body is not text in UTF-8", "send lines of CSV") from error
    wanted = [line for line in lines if line.strip()]
    if len(wanted) > MAX_ROWS:
        raise BodyTooLarge(f"{len(wanted)} lines in one request; at most {MAX_ROWS}", "send them in several requests")
    return wanted


def parts_in(body: bytes, content_type: str) -> Iterator[bytes]:
    """The contents of the parts of a form."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    form: Message = BytesParser(policy=HTTP).parsebytes(head + body)
    parts = form.get_payload()
    if not form.is_multipart() or not isinstance(parts, list):
        raise RequestError("the body is no form with parts", "send lines of CSV")
    for part in parts:
        assert isinstance(part, Message)
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        yield opened(content, part.get_content_type())


def opened(content: bytes, content_type: str) -> bytes:
    """The content of a part, decompressed if its type says that it is compressed."""
    if content_type in GZIP_TYPES:
        return decompressed(content)
    return unzipped(content) if content_type == "application/zip" else content


def decompressed(content: bytes) -> bytes:
    try:
        reader = zlib.decompressobj(WINDOW_BITS)
        text = reader.decompress(content, MOST_BYTES)
    except zlib.error as error:
        raise RequestError("the body can't be decompressed", "send gzip, deflate or plain text") from error
    if not reader.eof:
        raise (
            too_large() if len(text) == MOST_BYTES else RequestError("the compressed body is cut off", "send all of it")
        )
    return text


def unzipped(content: bytes) -> bytes:
    """The files of a zip archive, one after the other."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if sum(file.file_size for file in archive.infolist()) > MOST_BYTES:
                raise too_large()
            return b"\n".join(archive.read(file) for file in archive.infolist())
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise RequestError("the part is no zip archive that can be read", "send gzip or plain text") from error


def too_large() -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than {MOST_BYTES} bytes", "send the lines in several requests")

"""Refusals of the REST routes: problem documents by RFC 9457."""

from typing import Any

import httpx


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The document of a refusal that must have this status and code, checked for its form."""
    assert response.status_code == status, f"{response.status_code} {response.text}"
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"]
    assert body["title"]
    assert body["detail"]
    assert body["correlationId"] == response.headers["x-request-id"]
    return body

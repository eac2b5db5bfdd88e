"""Documents that are named instead of sent: automatically persisted, and trusted ones."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StackOf
from tests.support.api import Api, Organisation
from tests.support.stack import Stack

WHO = "query Who { viewer { kind } }"
DEVICES = "query Devices { devices { totalCount } }"


def _named(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": hashlib.sha256(text.encode()).hexdigest()}}


async def _asked(api: Api, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = (await api.http.post("/graphql", json=body, headers=api.headers)).json()
    return answer


async def _code(api: Api, **body: Any) -> str:
    return str((await _asked(api, **body))["errors"][0]["extensions"]["code"])


async def test_a_document_that_was_sent_with_its_hash_is_known_by_it(org: Organisation) -> None:
    text = f"{WHO} # {org.id}"
    unknown = await _asked(org.viewer, extensions=_named(text))
    assert unknown["errors"][0]["message"] == "PersistedQueryNotFound"
    assert unknown["errors"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
    for body in ({"query": text}, {}):
        assert (await _asked(org.viewer, **body, extensions=_named(text)))["data"] == {"viewer": {"kind": "USER"}}
    params = {"extensions": json.dumps(_named(text))}
    answer = await org.operator.http.get("/graphql", params=params, headers=org.operator.headers)
    assert answer.json()["data"] == {"viewer": {"kind": "USER"}}


async def test_only_callers_who_are_known_make_documents_known(api: Api, org: Organisation) -> None:
    text = f"{{ __typename }} # {org.id}"
    assert (await _asked(api, query=text, extensions=_named(text)))["data"] == {"__typename": "Query"}
    assert await _code(api, extensions=_named(text)) == "PERSISTED_QUERY_NOT_FOUND"


async def test_a_hash_of_something_else_is_refused(org: Organisation) -> None:
    assert await _code(org.viewer, query=WHO, extensions=_named(DEVICES)) == "PERSISTED_QUERY_HASH_MISMATCH"


@pytest.mark.parametrize(
    "persisted", [7, {}, {"version": 2, "sha256Hash": "a" * 64}, {"version": 1, "sha256Hash": "A" * 64}]
)
async def test_what_is_no_hash_is_refused(org: Organisation, persisted: Any) -> None:
    assert await _code(org.viewer, extensions={"persistedQuery": persisted}) == "BAD_REQUEST"


async def test_kept_documents_are_counted(stack: Stack, org: Organisation) -> None:
    async def counted(outcome: str) -> float:
        text = (await org.viewer.http.get("/metrics")).text
        found = re.search(rf'quartermaster_graphql_documents_total{{outcome="{outcome}"}} (\S+)', text)
        return float(found[1]) if found else 0.0

    misses, hits = await counted("miss"), await counted("hit")
    for _ in range(3):
        await org.viewer.run(f"{WHO} # counted {org.id}")
    assert (await counted("miss") - misses, await counted("hit") - hits) == (1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trusted documents in each of the forms."""
    folder = tmp_path_factory.mktemp("trusted")
    (folder / "who.graphql").write_text(WHO)
    (folder / "relay.json").write_text(json.dumps({"relay-devices": DEVICES}))
    operation = {
        "id": "apollo-live",
        "name": "Live",
        "type": "subscription",
        "body": "subscription { events { id } }",
    }
    login = (
        "mutation ($email: String!, $password: String!) "
        "{ login(email: $email, password: $password) { accessToken } }"
    )
    manifest = {
        "format": "apollo-persisted-query-manifest",
        "version": 1,
        "operations": [operation, {"id": "login", "name": "Login", "type": "mutation", "body": login}],
    }
    (folder / "apollo.json").write_text(json.dumps(manifest))
    (folder / "README.md").write_text("is left alone")
    return folder


@pytest.fixture(scope="module", params=["false", "true"], ids=["others too", "nothing else"])
def trusting(request: pytest.FixtureRequest, stack_of: StackOf, folder: Path) -> Iterator[tuple[Stack, bool]]:
    settings = {"QM_TRUSTED_DOCUMENTS": str(folder), "QM_TRUSTED_DOCUMENTS_ONLY": request.param}
    with stack_of(**settings) as stack:
        yield stack, request.param == "true"


async def test_trusted_documents_are_executed_by_id(trusting: tuple[Stack, bool]) -> None:
    stack, nothing_else = trusting
    async with httpx.AsyncClient(base_url=stack.url, timeout=20) as http:
        login = {"email": "admin@example.com", "password": stack.environment["QM_ADMIN_PASSWORD"]}
        signed_in = await _asked(Api(http), documentId="login", variables=login)
        admin = Api(http, signed_in["data"]["login"]["accessToken"])
        assert (await _asked(admin, documentId="who"))["data"] == {"viewer": {"kind": "USER"}}
        assert (await _asked(admin, documentId="relay-devices"))["data"] == {"devices": {"totalCount": 0}}
        assert (await _asked(admin, query=WHO))["data"] == {"viewer": {"kind": "USER"}}
        assert await _code(admin, documentId="nope") == "DOCUMENT_NOT_FOUND"
        other = await _asked(admin, query="{ viewer { role } }", extensions=_named("{ viewer { role } }"))
        if nothing_else:
            assert other["errors"][0]["extensions"]["code"] == "DOCUMENT_NOT_TRUSTED"
        else:
            assert other["data"] == {"viewer": {"role": "ADMIN"}}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"wrong.graphql": "{ nope }"}, "wrong"),
        ({"list.json": "[1]"}, "list.json"),
        ({"a.graphql": WHO, "b.json": '{"a": "{ __typename }"}'}, "b.json"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    code = (
        "from redis.asyncio import Redis; from server.graphql.executor import build_executor; "
        "from server.settings import load_settings, SettingsError\n"
        f"try: build_executor(load_settings(trusted_documents={str(tmp_path)!r}), Redis())\n"
        "except SettingsError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "QM_TRUSTED_DOCUMENTS" in ran.stdout
    assert said in ran.stdout

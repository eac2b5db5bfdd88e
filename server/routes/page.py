"""The page for people that is made from an OpenAPI document.

It is HTML that is complete when it leaves the server: no script, nothing from elsewhere, nothing to build.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_Json = Mapping[str, Any]

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{title}: REST routes</title>
<link rel="icon" href="data:,">
<style nonce="{nonce}">{style}</style>
</head>
<body>
<nav aria-label="Routes"><a class="home" href="#top">{title}</a>{nav}<b><a href="#schemas">Schemas</a></b></nav>
<main id="top">
<h1>REST routes <small>{version}</small></h1>
{about}
<p><a href="openapi.json">openapi.json</a> is the same for programs.</p>
{sections}
<h2 id="schemas">Schemas</h2>
{schemas}
</main>
</body>
</html>
"""
_STYLE = """
:root { color-scheme: light dark; --accent: light-dark(#b1026f, #ff7aad); --line: light-dark(#d9dee8, #3a4660);
  --panel: light-dark(#fff, #212a3b); --quiet: light-dark(#566379, #9fb0c9) }
* { box-sizing: border-box }
body { background: light-dark(#f6f7fa, #1a2130); color: light-dark(#2f3b52, #d6deea); margin: 0;
  font: 16px/1.6 system-ui, sans-serif; display: grid; grid-template-columns: 19rem minmax(0, 1fr) }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1.5rem 1rem;
  border-right: 1px solid var(--line); font-size: .875rem }
nav a { display: block; padding: .15rem .5rem; border-radius: 4px; color: inherit; text-decoration: none;
  overflow-wrap: anywhere }
nav a:hover, nav a:focus-visible { background: var(--line) }
nav b { display: block; margin: 1rem .5rem .25rem }
nav .home { font-size: 1.1rem; font-weight: 600; color: var(--accent) }
main { padding: 1.5rem 2.5rem 4rem; max-width: 64rem }
h1 small { color: var(--quiet); font-weight: 400; font-size: 1rem }
h2 { margin-top: 2.5rem }
h3 { font: 600 1.05rem/1.5 ui-monospace, Menlo, Consolas, monospace; margin: 0; overflow-wrap: anywhere }
h4 { margin: 1.25rem 0 .25rem; font-size: .9rem; color: var(--quiet) }
article { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 1.25rem;
  margin: 1rem 0; overflow-x: auto }
a { color: var(--accent) }
code, pre { font: .85rem/1.6 ui-monospace, Menlo, Consolas, monospace }
pre { overflow: auto; padding: .75rem 1rem; border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0 }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
td, th { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-top: 1px solid var(--line) }
td:first-child { white-space: nowrap }
.method { color: var(--accent) }
.quiet { color: var(--quiet) }
@media (max-width: 50rem) { body { display: block } nav { position: static; height: auto; border: 0 }
  main { padding: 1rem }
  tr, td, td:first-child { display: block; white-space: normal; overflow-wrap: anywhere }
  td + td { border: 0; padding-top: 0 } }
"""


_OPTIONAL = ' <span class="quiet">optional</span>'


def page(document: _Json, nonce: str) -> str:
    """The whole page. Everything that stands in the document is escaped."""
    groups = [(tag, list(_operations(document, tag["name"]))) for tag in document["tags"]]
    info = document["info"]
    return _PAGE.format(
        nonce=nonce,
        style=_STYLE,
        title=escape(info["title"]),
        version=escape(info["version"]),
        about=_prose(info["description"]),
        nav="".join(_nav(tag["name"], operations) for tag, operations in groups),
        sections="".join(_section(tag, operations) for tag, operations in groups),
        schemas="".join(_schema(*named) for named in sorted(document["components"]["schemas"].items())),
    )


_JOINED = {"allOf": " and ", "oneOf": " or ", "anyOf": " or "}
_Operation = tuple[str, str, _Json]  # method, path, what is said of it


def _operations(document: _Json, tag: str) -> Iterable[_Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield method.upper(), path, operation


def _nav(tag: str, operations: Sequence[_Operation]) -> str:
    links = (
        f'<a href="#{escape(operation["operationId"])}"><span class="method">{method}</span> {escape(path)}</a>'
        for method, path, operation in operations
    )
    return f"<b>{escape(tag)}</b>{''.join(links)}"


def _section(tag: _Json, operations: Sequence[_Operation]) -> str:
    return f"<h2>{escape(tag['name'])}</h2>{_prose(tag['description'])}{''.join(map(_article, operations))}"


def _article(told: _Operation) -> str:
    method, path, operation = told
    parts = [
        f'<article id="{escape(operation["operationId"])}">',
        f'<h3><span class="method">{method}</span> {escape(path)}</h3>',
        f"<p><b>{_inline(operation['summary'])}</b></p>",
        _prose(operation.get("description", "")),
        "<p>Needs <code>Authorization: Bearer …</code></p>" if operation["security"] else "",
        _parameters(operation.get("parameters", [])),
        _body(operation.get("requestBody")),
        _answers(operation["responses"]),
        "</article>",
    ]
    return "".join(parts)


def _parameters(parameters: Sequence[_Json]) -> str:
    rows = [
        (
            f"<code>{escape(one['name'])}</code>",
            f"{one['in']}{', required' if one['required'] else ''}",
            f"{_shape(one['schema'])}<br>{_inline(one['description'])}",
        )
        for one in parameters
    ]
    return f"<h4>Parameters</h4>{_table(rows)}" if rows else ""


def _body(body: _Json | None) -> str:
    if body is None:
        return ""
    needed = "required" if body["required"] else "optional"
    return f"<h4>Body ({needed})</h4>{_prose(body['description'])}{_table(_contents(body['content']))}"


def _answers(responses: _Json) -> str:
    rows = [
        (
            f"<b>{escape(status)}</b>",
            "".join(
                (
                    _inline(answer["description"]),
                    _table(_contents(answer.get("content", {}))),
                    _table(
                        (f"<code>{escape(name)}</code>", _inline(header["description"]))
                        for name, header in answer.get("headers", {}).items()
                    ),
                )
            ),
        )
        for status, answer in responses.items()
    ]
    return f"<h4>Answers</h4>{_table(rows)}"


def _contents(content: _Json) -> Iterable[tuple[str, str]]:
    for media_type, value in content.items():
        yield f"<code>{escape(media_type)}</code>", _shape(value["schema"])


def _schema(name: str, schema: _Json) -> str:
    rows = _rows(schema)
    inside = _table(rows) if rows else f"<pre>{escape(json.dumps(schema, indent=2))}</pre>"
    return f'<article id="schema-{escape(name)}"><h3>{escape(name)}</h3>{inside}</article>'


def _rows(schema: _Json) -> list[tuple[str, ...]]:
    required = schema.get("required", ())
    return [
        (
            f"<code>{escape(name)}</code>" + ("" if name in required else _OPTIONAL),
            _shape(about),
            _inline(about.get("description", "")),
        )
        for name, about in schema.get("properties", {}).items()
    ]


def _shape(schema: _Json) -> str:
    """A schema in a few words, with links to those that have a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    for key, word in _JOINED.items():
        if key in schema:
            return word.join(shape for one in schema[key] if (shape := _shape(one)))
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    return _plain(schema)


def _plain(schema: _Json) -> str:
    if schema.get("type") == "array":
        return f"list of {_shape(schema['items'])}"
    if schema.get("properties"):
        # Without a type it is what an allOf narrows, which the answer's description says in words.
        return f"object{_table(_rows(schema))}" if "type" in schema else ""
    return f'<span class="quiet">{escape(_words(schema))}</span>'


def _words(schema: _Json) -> str:
    kind = schema.get("format") or schema.get("type", "anything")
    low, high = schema.get("minimum"), schema.get("maximum")
    limits = f" from {low} to {high}" if low is not None and high is not None else ""
    longest = f", at most {schema['maxLength']} characters" if "maxLength" in schema else ""
    return f"{' or '.join(kind) if isinstance(kind, list) else kind}{limits}{longest}"


def _table(rows: Iterable[Sequence[str]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tbody>{body}</tbody></table>" if body else ""


def _prose(text: str) -> str:
    paragraphs = (paragraph for paragraph in text.split("\n\n") if paragraph.strip())
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in paragraphs)


def _inline(text: str) -> str:
    """Escaped, with `code` marked."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if at % 2 else piece for at, piece in enumerate(pieces))

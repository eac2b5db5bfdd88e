"""`import-configs` and `export-configs`: a folder of JSON files in, and the same out again."""

import json
import stat
from pathlib import Path
from typing import Any

from tests.configs.operations import CONFIG, DELETE, SCHEMA, VERSIONS, config, save, save_template
from tests.server.test_cli import environment_of
from tests.server.test_settings import quartermaster
from tests.support.api import Organisation
from tests.support.stack import Stack

CONTENTS = {
    "00-00-00-00-00-01": {"zeta": 1, "alpha": {"b": [1.5, None, True], "a": "ü🛒"}},
    "00-00-00-00-00-02": {"deviceName": "Fridge"},
    "00-00-00-00-00-03": {},
}


def written(folder: Path, contents: dict[str, Any]) -> Path:
    """A folder with these contents, or texts, by the names of their files."""
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        (folder / f"{name}.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(stack: Stack, tmp_path: Path, *arguments: str) -> tuple[int, str, list[str]]:
    """The exit code of a command, its output, and the lines of its errors."""
    done = quartermaster(*arguments, folder=tmp_path, **environment_of(stack))
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr.splitlines()


async def test_what_is_imported_is_exported_again_in_the_same_order(
    org: Organisation, stack: Stack, tmp_path: Path
) -> None:
    folder = written(tmp_path / "in", CONTENTS)
    (folder / "README.md").write_text("not a config")
    imported = run(stack, tmp_path, "import-configs", str(folder), "--client", org.name, "--note", "from files")
    assert imported == (0, "3 saved, 0 unchanged, 0 skipped.\n", [])
    (version,) = (await org.operator.run(VERSIONS, mac="00-00-00-00-00-01"))["config"]["versions"]["nodes"]
    assert (version["note"], version["authorKind"], version["authorId"]) == ("from files", "SYSTEM", None)
    again = run(stack, tmp_path, "import-configs", str(folder), "--client", org.id)
    assert again == (0, "0 saved, 3 unchanged, 0 skipped.\n", [])
    out = tmp_path / "new" / "out"
    exported = run(stack, tmp_path, "export-configs", str(out), "--client", org.name.upper())
    assert exported == (0, f"3 configs written to {out}.\n", [])
    assert names(out) == [f"{mac}.json" for mac in CONTENTS]
    for mac, content in CONTENTS.items():
        path = out / f"{mac}.json"
        assert json.dumps(json.loads(path.read_text())) == json.dumps(content)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_cannot_be_imported_is_told_by_name_and_the_rest_is(
    org: Organisation, stack: Stack, tmp_path: Path
) -> None:
    await org.operator.run(SCHEMA, schema={"properties": {"n": {"type": "integer"}}})
    bad = {
        "00-00-00-00-00-10": ('{"a": 1,}', "no JSON"),
        "00-00-00-00-00-11": ("[1, 2]", "JSON object"),
        "00-00-00-00-00-12": ("", "no JSON"),
        "00-00-00-00-00-13": ('{"a": {"b": NaN}}', "NaN or an infinity. (at /a/b)"),
        "00-00-00-00-00-14": ('{"a": "\\u0000"}', "NUL character. (at /a)"),
        "00-00-00-00-00-15": ('{"a": "\\ud800"}', "surrogate"),
        "00-00-00-00-00-16": ('{"a": 1, "b": {"x": 1, "x": 2}}', "'x' is there twice"),
        "00-00-00-00-00-17": ('{"a": 99999999999999999999999}', "64 bits. (at /a)"),
        "00-00-00-00-00-18": (b'{"a": "\xff"}', "UTF-8"),
        "00-00-00-00-00-19": ('{"a": ' * 30_000, "cannot be read"),
        "00-00-00-00-00-1a": ('{"a": "' + "x" * 300_000 + '"}', "262144 bytes"),
        "00-00-00-00-00-1b": ('{"a": "' + "x" * 70_000 + '"}', "65536 bytes"),
        "00-00-00-00-00-1c": ('{"n": "one"}', "at /n"),
        "00-00-00-00-00-1d": ('{"a": ' * 30 + "1" + "}" * 30, "nested at most 20"),
        "kitchen": ("{}", "no MAC address"),
        "00000000000003": ("{}", "no MAC address"),
        "0000.0000.0003": ("{}", "the MAC address of 00-00-00-00-00-03.json, too"),
    }
    folder = written(tmp_path / "in", {**{name: text for name, (text, _) in bad.items()}, **CONTENTS})
    (folder / "00-00-00-00-00-1e.json").mkdir()
    (folder / "00-00-00-00-00-1f.json").symlink_to(folder / "nowhere")
    code, counts, lines = run(stack, tmp_path, "import-configs", str(folder), "--client", org.id)
    assert (code, counts) == (1, f"3 saved, 0 unchanged, {len(bad) + 2} skipped.\n")
    told = dict(line.removeprefix("Skipped ").split(".json: ", 1) for line in lines)
    assert told.keys() == {*bad, "00-00-00-00-00-1e", "00-00-00-00-00-1f"}
    assert {name: told[name] for name, (_, right) in bad.items() if right not in told[name]} == {}
    assert (await config(org.operator, "00-00-00-00-00-01"))["version"] == 1
    assert (await org.operator.run(CONFIG, mac="00-00-00-00-00-10"))["config"] is None


async def test_a_dry_run_says_all_that_and_changes_nothing(org: Organisation, stack: Stack, tmp_path: Path) -> None:
    await save(org.operator, "00-00-00-00-00-02", CONTENTS["00-00-00-00-00-02"])
    folder = written(tmp_path / "in", {**CONTENTS, "kitchen": {}})
    code, counts, lines = run(stack, tmp_path, "import-configs", str(folder), "--client", org.id, "--dry-run")
    assert (code, counts) == (1, "2 would be saved, 1 unchanged, 1 skipped.\n")
    assert len(lines) == 1
    assert (await org.viewer.run("{ configs { totalCount } }"))["configs"]["totalCount"] == 1


async def test_an_export_has_what_is_live_under_its_templates_if_one_likes(
    org: Organisation, stack: Stack, tmp_path: Path
) -> None:
    await save_template(org.operator, "base", {"n": 1})
    await save(org.operator, "00-00-00-00-00-01", {"own": 1}, extends="base")
    await save(org.operator, "00-00-00-00-00-02", {})
    await org.operator.run(DELETE, mac="00-00-00-00-00-02")
    for options, expected in (((), {"own": 1}), (("--effective",), {"n": 1, "own": 1})):
        run(stack, tmp_path, "export-configs", str(tmp_path), "--client", org.id, *options)
        assert names(tmp_path) == ["00-00-00-00-00-01.json"]
        assert json.loads((tmp_path / "00-00-00-00-00-01.json").read_text()) == expected
    # An import leaves a config under the template that it extends.
    (tmp_path / "00-00-00-00-00-01.json").write_text('{"own": 2}')
    assert run(stack, tmp_path, "import-configs", str(tmp_path), "--client", org.id)[0] == 0
    assert (await config(org.operator, "00-00-00-00-00-01"))["effective"] == {"n": 1, "own": 2}


async def test_more_configs_than_a_page_are_exported(org: Organisation, stack: Stack, tmp_path: Path) -> None:
    folder = written(tmp_path / "in", {f"00-00-00-00-01-{n:02x}": {"n": n} for n in range(130)})
    assert run(stack, tmp_path, "import-configs", str(folder), "--client", org.id)[0] == 0
    run(stack, tmp_path, "export-configs", str(tmp_path / "out"), "--client", org.id)
    assert len(names(tmp_path / "out")) == 130


async def test_a_file_is_put_into_its_place_whole(org: Organisation, stack: Stack, tmp_path: Path) -> None:
    """Whoever has the old file open goes on reading the old config: it was not written into."""
    await save(org.operator, "00-00-00-00-00-01", {"n": 1})
    run(stack, tmp_path, "export-configs", str(tmp_path), "--client", org.id)
    path = tmp_path / "00-00-00-00-00-01.json"
    with path.open() as old:
        await save(org.operator, "00-00-00-00-00-01", {"n": 2})
        run(stack, tmp_path, "export-configs", str(tmp_path), "--client", org.id)
        assert json.loads(old.read()) == {"n": 1}
    assert json.loads(path.read_text()) == {"n": 2}
    assert names(tmp_path) == [path.name]


def test_a_folder_or_client_that_is_not_there_is_refused(stack: Stack, tmp_path: Path) -> None:
    nowhere, nobody = str(tmp_path / "nowhere"), "01a1fcdc-0000-7000-8000-000000000000"
    code, _, lines = run(stack, tmp_path, "import-configs", nowhere, "--client", "x")
    assert (code, "nowhere" in lines[0]) == (1, True)
    for client in ("nobody of this name", nobody):
        for command in ("import-configs", "export-configs"):
            code, _, lines = run(stack, tmp_path, command, str(tmp_path), "--client", client)
            assert (code, lines) == (1, [f"Refused. There is no client '{client}'."])

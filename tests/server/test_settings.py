"""Settings: each is listed, a wrong one stops the start with its name and what would be right."""

import subprocess
import sys
from pathlib import Path

import pytest

from server.settings import Settings, load_settings

KEY = "k" * 32
DATABASE = "postgresql://somebody:hidden-word@127.0.0.1:1/none"


def quartermaster(*arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The command, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        env={"QM_DATA_DIR": str(folder / "data"), "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "right"),
    [
        ({"QM_PORT": "99999"}, "less than or equal to 65535"),
        ({"QM_PORT": "http"}, "valid integer"),
        ({"QM_LOG_FORMAT": "xml"}, "'auto', 'console' or 'json'"),
        ({"QM_UPLOAD_MAX_BYTES": "10"}, "greater than or equal to 1000"),
        ({"QM_DATABASE_POOL_TIMEOUT": "0"}, "greater than 0"),
        ({"QM_INTROSPECTION": "perhaps"}, "valid boolean"),
        ({"QM_DATABASE_URL": "mysql://somewhere", "QM_SECRET_KEY": KEY}, "begins with postgresql://"),
        ({"QM_DATABASE_URL": DATABASE}, "QM_SECRET_KEY is required"),
        ({"QM_REDIS_URL": "http://somewhere"}, "begins with redis://, rediss:// or unix://"),
        ({"QM_STORAGE_URL": "folder://relative/path"}, "folder:///absolute/path"),
        ({"QM_PUBLIC_URL": "example.com"}, "begins with http:// or https://"),
        ({"QM_SECRET_KEY": "short"}, "at least 32 characters"),
        ({"QM_IMAGE_CLEANUP_CRON": "0 2 * *"}, "five fields such as"),
        ({"QM_BACKUP_CRON": "0 2 30 2 *"}, "it is `off`, or five fields"),
        ({"QM_TIME_ZONE": "Mars/Olympus"}, "a name such as `Europe/Berlin`"),
        ({"QM_KEPT_FOR_EVER": "images,devices"}, "'images', 'deleted_images', 'telemetry', 'events' or 'scenes'"),
        ({"QM_CLEANUP_MAX_SHARE": "0"}, "greater than 0"),
        ({"QM_REDIS_NAMESPACE": "a:b"}, "letters, digits, hyphens and underscores"),
        ({"QM_OTEL_ENDPOINT": "collector:4318"}, "begins with http:// or https://"),
        ({"QM_SENTRY_DSN": "https://sentry.example.com/1"}, "https://key@host/project"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_refused_at_start_with_its_name_and_what_would_be_right(
    tmp_path: Path, environment: dict[str, str], right: str
) -> None:
    ended = quartermaster("serve", folder=tmp_path, **environment)
    assert ended.returncode == 78, ended.stderr
    assert next(iter(environment)) in ended.stderr
    assert right in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data").exists()


def test_every_wrong_setting_is_told_at_once_and_secret_values_are_not(tmp_path: Path) -> None:
    ended = quartermaster(
        "serve",
        folder=tmp_path,
        QM_PORT="0",
        QM_WORKER_THREADS="none",
        QM_SECRET_KEY="hidden-word",
        QM_REDIS_URL="x://hidden-word",
    )
    assert ended.returncode == 78
    for name in ("QM_PORT='0'", "QM_WORKER_THREADS='none'", "QM_SECRET_KEY is wrong", "QM_REDIS_URL is wrong"):
        assert name in ended.stderr
    assert "hidden-word" not in ended.stderr


def test_a_database_that_does_not_answer_is_one_sentence_without_its_password(tmp_path: Path) -> None:
    ended = quartermaster(
        "serve", folder=tmp_path, QM_DATABASE_URL=DATABASE, QM_SECRET_KEY=KEY, QM_REDIS_URL="redis://127.0.0.1:1"
    )
    assert ended.returncode == 78
    assert "QM_DATABASE_URL: this database cannot be used" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hidden-word" not in ended.stderr


def test_processes_that_run_alone_need_to_know_where_the_services_are(tmp_path: Path) -> None:
    ended = quartermaster("worker", folder=tmp_path)
    assert ended.returncode == 78
    assert "Set QM_DATABASE_URL and QM_REDIS_URL" in ended.stderr


def test_the_list_names_every_setting_with_its_default_and_its_meaning(tmp_path: Path) -> None:
    listed = quartermaster("settings", folder=tmp_path)
    assert listed.returncode == 0
    cells = [[cell.strip() for cell in row.split("│")] for row in listed.stdout.splitlines()]
    names = {row[1] for row in cells if len(row) > 3 and row[1].startswith("QM_")}
    assert names == {f"QM_{name.upper()}" for name in Settings.model_fields}
    (port,) = [row for row in cells if "QM_PORT" in row]
    assert port[2:4] == ["8000", "Port to listen on."]


def test_settings_reach_child_processes_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = load_settings(
        data_dir=tmp_path,
        database_url=DATABASE,
        secret_key=KEY,
        allowed_origins="https://a.example, https://b.example",
        introspection=False,
        statement_timeout=2.5,
    )
    assert given.allowed_origins == ["https://a.example", "https://b.example"]
    for name, value in given.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == given

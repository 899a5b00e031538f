"""A run directory belongs to one configuration, and to one process at a time."""

from __future__ import annotations

import pytest

from gan3d import config as config_lib
from gan3d.training.directory import check_run_directory, open_run_directory

CONFIG = config_lib.preset("demo")


def open_and_close(run_dir, config=CONFIG):
    with open_run_directory(run_dir, config) as path:
        return path


def test_creates_it_with_its_configuration(tmp_path):
    path = open_and_close(tmp_path / "a" / "b")
    assert path.is_absolute()
    assert config_lib.from_json((path / "config.json").read_text()) == CONFIG
    assert [p.name for p in path.iterdir()] == ["config.json"]


def test_length_and_intervals_may_change(tmp_path):
    open_and_close(tmp_path)
    longer = config_lib.preset("demo", images=2 * CONFIG.images, log_interval_images=1)
    open_and_close(tmp_path, longer)
    assert config_lib.from_json((tmp_path / "config.json").read_text()) == longer


def test_another_configuration_is_refused_by_name_and_values(tmp_path):
    open_and_close(tmp_path)
    before = (tmp_path / "config.json").read_text()
    other = config_lib.preset("demo", seed=7, loss="nonsaturating")
    for function in (check_run_directory, open_and_close):
        with pytest.raises(ValueError) as error:
            function(tmp_path, other)
        assert "seed was 0, now 7" in str(error.value)
        assert "loss was 'relativistic', now 'nonsaturating'" in str(error.value)
    assert (tmp_path / "config.json").read_text() == before


@pytest.mark.parametrize("content", ["", "[]", "{", '{"no_such_field": 1}', '{"batch": "x"}'])
def test_unreadable_configuration(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match="is not a configuration of this version"):
        check_run_directory(tmp_path, CONFIG)


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        check_run_directory(tmp_path / "file", CONFIG)


def test_checking_creates_nothing(tmp_path):
    check_run_directory(tmp_path / "new", CONFIG)
    assert not (tmp_path / "new").exists()


def test_only_one_process_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    with (
        open_run_directory(tmp_path, CONFIG),
        pytest.raises(ValueError, match="another process is training"),
    ):
        open_and_close(tmp_path)
    open_and_close(tmp_path)

"""Every program: a help text that names its flags, and one line and an exit code for a mistake."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import re
from pathlib import Path

import pytest

import experiments
from experiments import flags as experiment_flags
from experiments.help_text import WIDTH
from gan3d.config import Config, to_json

FOLDER = Path(experiments.__file__).parent
PROGRAMS = sorted(
    path.stem for path in FOLDER.glob("*.py") if "experiment_flags.run(main" in path.read_text()
)
# Command lines that no program can obey, and what it should say. {folder} and {file} exist and
# {missing} does not; {unsaved}, {broken} and {wrong} are runs without a checkpoint, with a
# config.json that is no JSON, and with a value out of range; {empty} is an empty folder.
MISTAKES = [
    ("train --batch=many", "--batch=many: invalid literal"),
    ("train --preset=huge", "should be one of <demo|"),
    ("train --run={file}/run", "run must be a directory that can be written"),
    ("train --data=folder:{empty}", "data must name a folder with .jpg"),
    ("train --data=folder:{missing}", "data must name an existing folder"),
    ("train --num_processes=2 --cluster", "--cluster finds out"),
    ("evaluate --run={missing}", "there is no run"),
    ("evaluate --run={unsaved}", "has no checkpoint yet"),
    ("evaluate --run={broken}", "is not a configuration of this version"),
    ("evaluate --run={wrong}", "resolution must be one of"),
    ("evaluate --samples=0", "--samples=0"),
    ("sample --run={missing}", "there is no run"),
    ("sample --run={unsaved}", "has no checkpoint yet"),
    ("sample --run={broken}", "is not a configuration of this version"),
    ("sample --num=0", "--num=0"),
    ("sample --out={file}", "--out must name a folder"),
    ("figures --run={missing}", "there is no run"),
    ("figures --run={unsaved}", "has no checkpoint yet"),
    ("figures --figure=ablation", "--figure=ablation needs --ablation=DIR"),
    ("figures --truncation=nan", "--truncation must be a finite number"),
    ("figures --out={file}", "--out must name a folder"),
    ("video --run={missing}", "there is no run"),
    ("video --fps=0", "--fps=0"),
    ("video --seconds=600 --fps=60", "--seconds times --fps must be at most"),
    ("video --out=film.avi", "must end with .mp4 or .gif"),
    ("video --out={folder}/a.gif/b.gif", "is no folder"),
    ("report --run={missing}", "there is no run"),
    ("report --num=0", "num must be"),
    ("report --out=report.txt", ".html"),
    ("report --out={file}/a.html", "is no folder"),
    ("export_model --run={missing}", "there is no run"),
    ("export_model --batch=0", "--batch=0"),
    ("export_model --resolutions=few", "resolutions"),
    ("export_model --platforms=abacus", "platforms"),
    ("export_model --out={file}", "--out must name a folder"),
    ("curves --run={missing}", "there is no run"),
    ("curves --run={empty}", "has no metrics yet"),
    ("curves --out=curves.txt", "--out must end with .png"),
    ("curves --out={folder}/a.png", "--out must name a file"),
    ("ablate --rows=best", "rows must be of"),
    ("ablate --seeds=one", "seeds must be whole numbers"),
    ("ablate --data=ffhq", "data must be 'heads'"),
    ("ablate --evaluations=0", "--evaluations=0"),
    ("ablate --out={file}", "--out must name a folder"),
    ("prepare", "--dataset must be given"),
    ("prepare --dataset=ffhq", "--source must name"),
    ("prepare --dataset=heads --source=x.zip", "--source must not be given"),
    ("fit --data={missing}", "there is no transforms.json in"),
    ("fit --data={empty}", "there is no transforms.json in"),
    ("fit --out={file}", "--out must name a folder"),
    ("fit --size=0", "--size=0"),
    ("fit --steps=0", "--steps=0"),
    ("fit --grid=32", "--grid must be odd"),
    ("train_encoder --run={missing}", "there is no run"),
    ("train_encoder --out={file}", "--out must name a folder"),
    ("train_encoder --learning_rate=nan", "--learning_rate must be a finite number"),
    ("reconstruct --images={missing} --run={missing}", "there is no run"),
    ("reconstruct --run={missing}", "--images must name a picture"),
    ("reconstruct --images={file} --out={file}", "--out must name a folder"),
    ("evaluate_inversion --run={missing}", "there is no run"),
    ("evaluate_inversion --heads=0", "--heads=0"),
    ("evaluate_inversion --out={file}", "--out must name a folder"),
    ("kill_test --kills=0", "--kills=0"),
    ("kill_test --directory={folder}", "directory must not exist yet"),
    ("benchmark_data --batch=0", "--batch must be at least 1"),
    ("benchmark_data --folder={missing}", "folder must name a folder with image files"),
    ("benchmark_data --json={folder}", "--json must name a file"),
    ("benchmark_render --faces=few", "--faces must be a list of positive integers"),
    ("benchmark_render --peers=blender", "--peers must be among"),
    ("benchmark_render --seed=-1", "--seed=-1"),
    ("benchmark_render --json={file}/a.json", "is no folder"),
    ("benchmark_train --steps=0", "--steps must be at least 1"),
    ("benchmark_train --peak_tflops=nan", "--peak_tflops must be positive"),
    ("benchmark_train --json={folder}", "--json must name a file"),
    ("render_figure --size=0", "--size=0"),
    ("render_figure --out={file}", "--out must name a folder"),
    ("api_page --out={folder}", "--out must name a file"),
]


def run(program: str, *arguments: str) -> int:
    main = importlib.import_module(f"experiments.{program}").main
    return experiment_flags.run(main, [str(FOLDER / f"{program}.py"), *arguments])


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    base = tmp_path_factory.mktemp("places")
    names = ("folder", "unsaved", "broken", "wrong", "empty")
    made = {name: base / name for name in names}
    for path in made.values():
        path.mkdir()
    (made["folder"] / "a.png").mkdir()
    (made["folder"] / "a.gif").write_text("")
    (made["unsaved"] / "config.json").write_text(to_json(Config()))
    (made["broken"] / "config.json").write_text('{"resolution": 3')
    wrong = dataclasses.asdict(Config()) | {"resolution": 48}
    (made["wrong"] / "config.json").write_text(json.dumps(wrong))
    (base / "file").write_text("")
    return {**made, "file": base / "file", "missing": base / "missing"}


@pytest.mark.parametrize("command, message", MISTAKES, ids=lambda value: str(value)[:40])
def test_mistakes(command, message, places, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, *arguments = command.format(**places).split()
    assert run(program, *arguments) == experiment_flags.EXIT_USAGE
    assert_one_line(capsys, message)
    assert not list(tmp_path.iterdir())  # nothing has been begun


@pytest.mark.parametrize("program", PROGRAMS)
def test_mistakes_that_all_programs_know(program, capsys):
    assert any(command.split()[0] == program for command, _ in MISTAKES)
    assert run(program, "--colour=red") == experiment_flags.EXIT_USAGE
    assert_one_line(capsys, "Unknown command line flag 'colour'")
    assert run(program, "demo") == experiment_flags.EXIT_USAGE
    assert_one_line(capsys, "unexpected argument 'demo'")


def assert_one_line(capsys, message: str) -> None:
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and len(captured.err.splitlines()) == 1, captured.err
    assert message in lines[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_help(program, capsys, monkeypatch):
    parsed = []
    parse = experiment_flags.parse
    monkeypatch.setattr(
        experiment_flags,
        "parse",
        lambda values, *rest: parsed.append(values) or parse(values, *rest),
    )
    for argument in ("--help", "--helpfull"):
        assert run(program, argument) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: python -m experiments.{program}")
        assert f"python -m experiments.{program}" in text.split("\n\n", 1)[1]  # an example
        assert max(map(len, text.splitlines())) <= WIDTH
        for name in set(parsed[-1]) - {"flagfile", "undefok"}:
            assert re.search(rf"--(\[no\])?{name}\b", text), name
            assert argument == "--help" or parsed[-1][name].help


def test_short_help_does_not_explain_the_configuration(capsys):
    run("train", "--help")
    short = capsys.readouterr().out
    run("train", "--helpfull")
    full = capsys.readouterr().out
    meaning = "weight of the R1 penalty"
    assert meaning in full and meaning not in short
    assert len(short.splitlines()) < 50 < len(full.splitlines())


@pytest.mark.parametrize(
    "error, code, message",
    [
        (PermissionError(13, "Permission denied", "a.png"), 1, "error: Permission denied: a.png"),
        (OSError(28, "No space left on device", "a"), 1, "error: No space left on device: a"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_happens_while_a_program_runs(error, code, message, capsys):
    def main(argv):
        raise error

    assert experiment_flags.run(main, ["program"]) == code
    assert capsys.readouterr().err == message + "\n"


def test_a_mistake_in_the_program_keeps_its_stack_trace():
    def main(argv):
        raise OSError("an operation on no file")

    with pytest.raises(OSError, match="on no file"):
        experiment_flags.run(main, ["program"])


def test_a_missing_package_is_known_before_the_work(capsys, monkeypatch, places):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "keras" else find(name)
    )
    assert run("evaluate", "--features=inception", f"--run={places['missing']}") == 2
    assert_one_line(capsys, "needs keras: pip install")

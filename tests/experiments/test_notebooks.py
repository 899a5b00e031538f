"""The notebooks: committed without outputs, and executed from top to bottom."""

from __future__ import annotations

import pathlib
import queue
import time

import nbclient
import nbformat
import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from saved_run import save_run

import experiments

FOLDER = pathlib.Path(experiments.__file__).parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 300  # that a cell may take


def read(path: pathlib.Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


class AttentiveChannel(AsyncZMQSocketChannel):
    """Looks for messages every second.

    Widgets make the client send while it waits for the reply on the same socket. ZeroMQ signals a
    change once, and a signal that the sending has taken is not there for the waiting: the reply
    was found when the time for the cell was over, five minutes later.
    """

    async def get_msg(self, timeout=None):
        end = None if timeout is None else time.monotonic() + timeout
        while not await self.socket.poll(1000):
            if end is not None and time.monotonic() > end:
                raise queue.Empty
        return await self._recv()


class AttentiveClient(AsyncKernelClient):
    shell_channel_class = AttentiveChannel


def execute(name: str, folder: pathlib.Path, **parameters) -> nbformat.NotebookNode:
    """Runs a notebook in a folder, with other values of what its cell of parameters sets."""
    notebook = read(FOLDER / f"{name}.ipynb")
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert len(cells) == (1 if parameters else 0)
    for key, value in parameters.items():
        assert f"{key} = " in cells[0].source
        cells[0].source += f"\n{key} = {value!r}"
    resources = {"metadata": {"path": str(folder)}}
    kernel = AsyncKernelManager(client_factory=AttentiveClient)
    client = nbclient.NotebookClient(notebook, kernel, timeout=SECONDS, resources=resources)
    return client.execute(cleanup_kc=True)


def pictures(notebook: nbformat.NotebookNode) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["explore", "render", "train"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs_and_opens_itself_in_colab(path):
    notebook = read(path)
    for cell in notebook.cells:
        assert not cell.get("outputs") and not cell.get("execution_count")
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.cells[0].source.startswith("# ")
    assert f"/blob/main/experiments/notebooks/{path.name})" in notebook.cells[0].source


def test_render(tmp_path):
    notebook = execute("render", tmp_path)
    assert len(pictures(notebook)) == 3
    (text,) = [o.text for cell in notebook.cells for o in cell.get("outputs", ()) if "text" in o]
    soft, crisp = (float(line.split()[-1]) for line in text.splitlines())
    assert soft > 0.9 and crisp < 0.5


def test_train(tmp_path):
    # Most of the time is compilation, and less of it for one kind of step than for three.
    small = {"generator_width": 8, "discriminator_width": 8, "surface_size": 8, "texture_size": 8}
    quick = {"penalty_interval": 1, "r2_gamma": 0.0, "batch": 4, "num_heads": 32}
    notebook = execute("train", tmp_path, images=8, networks={**small, **quick})
    assert len(list((tmp_path / "runs/notebook/sheets").glob("*.png"))) == 2
    assert len(pictures(notebook)) == 4  # real ones, the last sheet, curves, samples


def test_explore(tmp_path):
    run = tmp_path / "run"
    save_run(run)
    notebook = execute("explore", tmp_path, run=str(run), frames=4)
    assert (tmp_path / "head.glb").read_bytes().startswith(b"glTF")
    assert notebook.cells[-1].outputs[0].data["text/plain"] == "4"
    assert len(pictures(notebook)) >= 1

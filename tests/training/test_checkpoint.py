"""Checkpoints come back exactly as they were, or not at all."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gan3d.training.checkpoint import CheckpointError, Checkpoints
from gan3d.training.directory import WriteError


def make_state(images_seen: int) -> dict:
    params = {
        "dense": {
            "kernel": jax.random.normal(jax.random.key(images_seen), (64, 32)),
            "bias": jnp.full((32,), images_seen, jnp.bfloat16),
        }
    }
    return {
        "images_seen": jnp.int32(images_seen),
        "params": params,
        "optimizer": optax.adam(1e-3).init(params),
    }


def assert_equal(actual, expected) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.fixture
def saved(tmp_path) -> Path:
    """A directory with checkpoints at 32 and 64 images."""
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(32, make_state(32))
        checkpoints.save(64, make_state(64))
    return tmp_path / "checkpoints"


def restore(directory: Path, template=None):
    with Checkpoints(directory) as checkpoints:
        return checkpoints.restore_latest(make_state(0) if template is None else template)


def largest_file(directory: Path) -> Path:
    return max((p for p in directory.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def test_restores_exactly_what_was_saved(saved):
    state, images_seen = restore(saved)
    assert images_seen == 64
    assert_equal(state, make_state(64))


def test_restores_into_shapes_alone(saved):
    state, _ = restore(saved, jax.eval_shape(lambda: make_state(0)))
    assert_equal(state, make_state(64))


def test_nothing_to_restore(tmp_path):
    assert restore(tmp_path / "new") is None


def test_saves_a_copy_that_later_steps_cannot_change(tmp_path):
    step = jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)
    state = make_state(32)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(32, state)
        jax.block_until_ready(step(state))
    assert_equal(restore(tmp_path)[0], make_state(32))


def test_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for images_seen in (32, 64, 96, 128):
            checkpoints.save(images_seen, make_state(images_seen))
        checkpoints.wait()
        assert checkpoints.all_images() == [96, 128]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["128", "96"]


def test_saving_again_changes_nothing(saved):
    with Checkpoints(saved) as checkpoints:
        checkpoints.save(64, make_state(1))
    assert_equal(restore(saved)[0], make_state(64))


@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed"])
def test_damaged_arrays_fall_back(saved, damage, caplog):
    path = largest_file(saved / "64" / "state")
    if damage == "flipped":
        flip_byte(path)
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
    state, images_seen = restore(saved)
    assert images_seen == 32
    assert_equal(state, make_state(32))
    assert "damaged checkpoint 64" in caplog.text
    assert (saved / "64.damaged").is_dir()


def test_a_flipped_byte_anywhere_never_gives_wrong_numbers(saved, tmp_path):
    files = [p.relative_to(saved) for p in (saved / "64").rglob("*") if p.is_file()]
    for file in files:
        copy = tmp_path / "copy"
        shutil.copytree(saved, copy)
        flip_byte(copy / file)
        state, images_seen = restore(copy)
        assert_equal(state, make_state(images_seen))
        shutil.rmtree(copy)


def test_a_fallen_back_run_can_save_there_again(saved):
    flip_byte(largest_file(saved / "64" / "state"))
    with Checkpoints(saved) as checkpoints:
        checkpoints.restore_latest(make_state(0))
        checkpoints.save(64, make_state(64))
    assert restore(saved)[1] == 64


def test_a_deleted_checkpoint_is_not_missed(saved):
    shutil.rmtree(saved / "64")
    assert restore(saved)[1] == 32


@pytest.mark.parametrize("complete", [False, True])
def test_what_a_killed_save_leaves_behind_is_removed(saved, complete):
    unfinished = saved / "96.orbax-checkpoint-tmp"
    shutil.copytree(saved / "64", unfinished)
    if not complete:
        shutil.rmtree(unfinished / "state")
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.restore_latest(make_state(0))[1] == 64
        checkpoints.save(128, make_state(128))  # waits for the removal, which runs beside
    assert sorted(path.name for path in saved.iterdir()) == ["128", "32", "64"]


def test_stray_directories_are_no_checkpoints(saved):
    (saved / "999").mkdir()
    (saved / "1000").mkdir()
    (saved / "1000" / "notes.txt").write_text("mine")
    assert restore(saved)[1] == 64
    assert (saved / "1000.damaged" / "notes.txt").read_text() == "mine"


def test_only_an_empty_stray_directory(tmp_path):
    (tmp_path / "999").mkdir()
    assert restore(tmp_path) is None


def test_nothing_but_damage_is_an_error(saved):
    for name in ("32", "64"):
        flip_byte(largest_file(saved / name / "state"))
    with pytest.raises(CheckpointError, match="none of the checkpoints"):
        restore(saved)
    assert sorted(p.name for p in saved.iterdir()) == ["32", "64"]


def test_read_only_changes_nothing(saved):
    flip_byte(largest_file(saved / "64" / "state"))
    with Checkpoints(saved, read_only=True) as checkpoints:
        assert checkpoints.restore_latest(make_state(0))[1] == 32
    assert sorted(p.name for p in saved.iterdir()) == ["32", "64"]


def test_read_only_creates_nothing(tmp_path):
    with Checkpoints(tmp_path / "none", read_only=True) as checkpoints:
        assert checkpoints.restore_latest(make_state(0)) is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["params"]["dense"].update(kernel=jnp.zeros((64, 31))), "shape"),
        (lambda s: s["params"]["dense"].update(bias=jnp.zeros((32,))), "dtype bfloat16"),
        (lambda s: s["params"].update(more=jnp.zeros(1)), "only the model has"),
        (lambda s: s["params"].pop("dense"), "only the checkpoint has"),
    ],
)
def test_another_model_is_an_error(saved, change, message):
    template = make_state(0)
    change(template)
    with pytest.raises(CheckpointError, match=message):
        restore(saved, template)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (ValueError("RESOURCE_EXHAUSTED: a: No space left on device [x='28']"), "No space left"),
    ],
)
def test_what_the_system_does_not_write_is_named(tmp_path, monkeypatch, error, reason):
    def fail(*arguments, **keywords):
        raise error

    with Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(checkpoints._manager, "save", fail)
        with pytest.raises(WriteError, match=f"cannot save a checkpoint in {tmp_path}: {reason}"):
            checkpoints.save(32, make_state(32))


def test_a_mistake_in_a_save_is_not_blamed_on_the_disk(tmp_path):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match="zero size"):
        checkpoints.save(32, {"empty": np.zeros((0,))})


def test_does_not_save_what_is_not_finite(tmp_path):
    state = make_state(32)
    state["params"]["dense"]["bias"] = state["params"]["dense"]["bias"].at[3].set(jnp.nan)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(FloatingPointError, match=r"bias.*32 images"):
            checkpoints.save(32, state)
        assert checkpoints.all_images() == []

"""Training: state, step, loop and checkpoints; start at `gan3d.training.loop.train`."""

"""From a photograph to 3D: which scene of a trained generator, seen from where, is in a picture?

Two ways, and one from the other:

    found = invert(generator, images)                     # by descent through the renderer
    encoder = train_encoder(generator, photographs)       # by a network, at once
    found = invert(generator, images, encoder)            # the network's answer, then the descent

    generator.render(found.scene, generator.camera(found.view.yaw + 0.5, found.view.pitch))

Neither needs poses, masks, landmarks or networks trained on labels. What is found can be edited
with `gan3d.editing`. `python -m experiments.reconstruct` does it for files.
"""

from gan3d.inversion.encoder import Encoder
from gan3d.inversion.encoder_files import (
    EncoderError,
    load_demo_encoder,
    load_encoder,
    save_encoder,
)
from gan3d.inversion.encoder_training import EncoderConfig, train_encoder
from gan3d.inversion.invert import Inversion, InversionConfig, invert

__all__ = [
    "Encoder",
    "EncoderConfig",
    "EncoderError",
    "Inversion",
    "InversionConfig",
    "invert",
    "load_demo_encoder",
    "load_encoder",
    "save_encoder",
    "train_encoder",
]

"""What training and evaluation write into a run beside its checkpoints."""

from __future__ import annotations

import json
import pathlib

from PIL import Image
from test_curves import dashboard_row, evaluation_row, training_row

HISTOGRAM = {"edges": [0.0, 0.5, 1.0], "shares": [0.75, 0.25]}


def save_record(run_dir: pathlib.Path) -> None:
    """Metrics, sheets and an evaluation, as training and `experiments.evaluate` leave them."""
    looks = [dashboard_row(0), dashboard_row(6400, 0.7)]
    for look in looks:
        look |= {"dashboard/coverage_histogram": HISTOGRAM, "dashboard/size_against_start": 1.0}
        look |= {"dashboard/front_depth_to_width": 0.5, "dashboard/hollow_share": 0.0}
    looks[-1]["dashboard/flipped_faces"] = 0.4
    rows = [looks[0], *(training_row(i) for i in range(640, 6401, 640)), looks[1]]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run_dir / "evaluations.jsonl").write_text(json.dumps(evaluation_row(6400, 0.7)) + "\n")
    (run_dir / "sheets").mkdir()
    for images, color in ((0, "red"), (320, "blue")):
        Image.new("RGB", (60, 40), color).save(run_dir / "sheets" / f"{images:08d}.png")
    (run_dir / "sheets" / "00000640.png").write_bytes(b"being written")
    scores = {"run": {"frontal_iou": 0.9}, "<b>truth": {"frontal_iou": None, "width": -0.0001}}
    result = {"images_seen": 240, "scores": scores}
    (run_dir / "evaluation.json").write_text(json.dumps(result))
    Image.new("RGB", (60, 40), "green").save(run_dir / "evaluation.png")

"""Which metrics of a run `experiments.curves` draws together."""

from __future__ import annotations

from typing import NamedTuple


class Panel(NamedTuple):
    """One of the small multiples.

    Attributes:
      title: of the panel.
      curves: names of one or two metrics; the second is dashed.
      labels: of the two curves; of a single one, a remark.
      band: names of the metrics between which the band lies.
      log: logarithmic scale.
      percent: shares shown in percent.
      reference: a value of special meaning, marked by a thin line.
    """

    title: str
    curves: tuple[str, ...]
    labels: tuple[str, ...]
    band: tuple[str, str] | None = None
    log: bool = False
    percent: bool = False
    reference: float | None = None


PANELS = (
    Panel("losses", ("loss_g", "loss_d"), ("generator", "discriminator")),
    Panel("scores of D", ("score_real", "score_fake"), ("real", "generated")),
    Panel("gradient penalties", ("r1", "r2"), ("R1, real", "R2, generated"), log=True),
    Panel("roughness", ("laplacian", "crease"), ("Laplacian", "creases"), log=True),
    Panel("mean radius", ("radius",), ("1 = just fits the picture",)),
    Panel("coverage in training", ("coverage",), ("mean over all views",), percent=True),
    Panel(
        "coverage from the front",
        ("dashboard/coverage_median",),
        ("median, 5 to 95% of the samples",),
        band=("dashboard/coverage_low", "dashboard/coverage_high"),
        percent=True,
    ),
    Panel("size drift", ("dashboard/size_against_start",), ("1 = as at the start",), reference=1),
    Panel(
        "fronts",
        ("dashboard/convexity", "dashboard/hollow_share"),
        ("convexity", "share of hollow ones"),
        reference=0,
    ),
    Panel(
        "unsound faces",
        ("dashboard/flipped_faces", "dashboard/degenerate_faces"),
        ("flipped", "degenerate"),
        percent=True,
    ),
    Panel("longest edges", ("dashboard/edge_ratio",), ("99% quantile over median",)),
    Panel(
        "difference from the background",
        ("dashboard/background_distance", "dashboard/object_contrast"),
        ("whole picture", "object only"),
    ),
    Panel(
        "nearest neighbours: shapes against truth",
        ("evaluation/one_nna",),
        ("1-NN accuracy; 50% = indistinguishable",),
        percent=True,
        reference=0.5,
    ),
    Panel(
        "distance to the nearest shape", ("evaluation/mmd",), ("MMD, mean over the true shapes",)
    ),
    Panel(
        "true shapes that were found",
        ("evaluation/cov",),
        ("COV, those that are nearest to a sample",),
        percent=True,
    ),
    Panel(
        "mean silhouettes",
        ("evaluation/frontal_iou", "evaluation/profile_iou"),
        ("frontal IoU", "profile"),
        percent=True,
    ),
    Panel(
        "mean depth",
        ("evaluation/frontal_depth_correlation", "evaluation/profile_depth_correlation"),
        ("frontal correlation", "profile"),
    ),
    Panel("viewpoint", ("evaluation/pose_mae_degrees",), ("mean error, degrees",)),
    Panel("pictures", ("evaluation/swd",), ("sliced Wasserstein distance x 1000",)),
)

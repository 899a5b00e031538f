"""Measures of generated scenes against ground truth."""

from __future__ import annotations

from gan3d.evaluation.geometry import CanonicalMaps as CanonicalMaps
from gan3d.evaluation.geometry import canonical_maps as canonical_maps
from gan3d.evaluation.geometry import depth_correlation as depth_correlation
from gan3d.evaluation.geometry import depth_rmse as depth_rmse
from gan3d.evaluation.geometry import evaluation_stage as evaluation_stage
from gan3d.evaluation.geometry import silhouette_iou as silhouette_iou
from gan3d.evaluation.report import Measurement as Measurement
from gan3d.evaluation.report import format_table as format_table
from gan3d.evaluation.report import geometry_report as geometry_report
from gan3d.evaluation.report import measure as measure
from gan3d.evaluation.report import report_picture as report_picture

__all__ = [
    "CanonicalMaps",
    "Measurement",
    "canonical_maps",
    "depth_correlation",
    "depth_rmse",
    "evaluation_stage",
    "format_table",
    "geometry_report",
    "measure",
    "report_picture",
    "silhouette_iou",
]

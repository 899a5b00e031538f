"""Measures of generated scenes and pictures against ground truth."""

from __future__ import annotations

from gan3d.evaluation.alignment import Similarity as Similarity
from gan3d.evaluation.alignment import align_by_icp as align_by_icp
from gan3d.evaluation.alignment import umeyama as umeyama
from gan3d.evaluation.cloud_report import CloudSampling as CloudSampling
from gan3d.evaluation.cloud_report import compare_clouds as compare_clouds
from gan3d.evaluation.dashboard import degeneracy as degeneracy
from gan3d.evaluation.depth import depth_normals as depth_normals
from gan3d.evaluation.depth import mean_angle_deviation as mean_angle_deviation
from gan3d.evaluation.depth import scale_invariant_depth_error as scale_invariant_depth_error
from gan3d.evaluation.failures import failure_rates as failure_rates
from gan3d.evaluation.features import MissingFeaturesError as MissingFeaturesError
from gan3d.evaluation.features import inception_features as inception_features
from gan3d.evaluation.geometry import CanonicalMaps as CanonicalMaps
from gan3d.evaluation.geometry import canonical_maps as canonical_maps
from gan3d.evaluation.geometry import depth_correlation as depth_correlation
from gan3d.evaluation.geometry import depth_rmse as depth_rmse
from gan3d.evaluation.geometry import evaluation_stage as evaluation_stage
from gan3d.evaluation.geometry import silhouette_iou as silhouette_iou
from gan3d.evaluation.image_distances import frechet_distance as frechet_distance
from gan3d.evaluation.image_distances import kernel_distance as kernel_distance
from gan3d.evaluation.image_distances import subset_kernel_distance as subset_kernel_distance
from gan3d.evaluation.image_report import image_scores as image_scores
from gan3d.evaluation.points import chamfer_distance as chamfer_distance
from gan3d.evaluation.points import coverage as coverage
from gan3d.evaluation.points import f_score as f_score
from gan3d.evaluation.points import minimum_matching_distance as minimum_matching_distance
from gan3d.evaluation.points import one_nearest_neighbour_accuracy as one_nearest_neighbour_accuracy
from gan3d.evaluation.points import pairwise_chamfer as pairwise_chamfer
from gan3d.evaluation.points import sample_surface as sample_surface
from gan3d.evaluation.points import surface_chamfer_distance as surface_chamfer_distance
from gan3d.evaluation.pose import compare_poses as compare_poses
from gan3d.evaluation.pose import constant_pose_errors as constant_pose_errors
from gan3d.evaluation.pose import pose_errors as pose_errors
from gan3d.evaluation.pose_network import PoseNetwork as PoseNetwork
from gan3d.evaluation.pose_network import PoseRegressor as PoseRegressor
from gan3d.evaluation.pose_network import train_pose_regressor as train_pose_regressor
from gan3d.evaluation.radial import Modes as Modes
from gan3d.evaluation.radial import compare_radii as compare_radii
from gan3d.evaluation.radial import principal_modes as principal_modes
from gan3d.evaluation.radial import sphere_directions as sphere_directions
from gan3d.evaluation.radial import surface_radii as surface_radii
from gan3d.evaluation.reconstruction import PosedScenes as PosedScenes
from gan3d.evaluation.reconstruction import constant_depth_errors as constant_depth_errors
from gan3d.evaluation.reconstruction import reconstruction_errors as reconstruction_errors
from gan3d.evaluation.report import Measurement as Measurement
from gan3d.evaluation.report import geometry_report as geometry_report
from gan3d.evaluation.report import measure as measure
from gan3d.evaluation.report import report_picture as report_picture
from gan3d.evaluation.sliced_wasserstein import patch_distances as patch_distances
from gan3d.evaluation.table import format_table as format_table
from gan3d.evaluation.views import SceneViews as SceneViews
from gan3d.evaluation.views import mesh_vertices as mesh_vertices
from gan3d.evaluation.views import scene_views as scene_views

__all__ = [
    "CanonicalMaps",
    "CloudSampling",
    "Measurement",
    "MissingFeaturesError",
    "Modes",
    "PoseNetwork",
    "PoseRegressor",
    "PosedScenes",
    "SceneViews",
    "Similarity",
    "align_by_icp",
    "canonical_maps",
    "chamfer_distance",
    "compare_clouds",
    "compare_poses",
    "compare_radii",
    "constant_depth_errors",
    "constant_pose_errors",
    "coverage",
    "degeneracy",
    "depth_correlation",
    "depth_normals",
    "depth_rmse",
    "evaluation_stage",
    "f_score",
    "failure_rates",
    "format_table",
    "frechet_distance",
    "geometry_report",
    "image_scores",
    "inception_features",
    "kernel_distance",
    "mean_angle_deviation",
    "measure",
    "mesh_vertices",
    "minimum_matching_distance",
    "one_nearest_neighbour_accuracy",
    "pairwise_chamfer",
    "patch_distances",
    "pose_errors",
    "principal_modes",
    "reconstruction_errors",
    "report_picture",
    "sample_surface",
    "scale_invariant_depth_error",
    "scene_views",
    "silhouette_iou",
    "sphere_directions",
    "subset_kernel_distance",
    "surface_chamfer_distance",
    "surface_radii",
    "train_pose_regressor",
    "umeyama",
]

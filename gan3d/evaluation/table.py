"""The evaluation's scores as text."""

from __future__ import annotations

from collections.abc import Mapping

# Rows of the printed table: key and label.
TABLE_ROWS = (
    ("frontal_iou", "frontal silhouette IoU"),
    ("profile_iou", "profile silhouette IoU"),
    ("frontal_depth_correlation", "frontal depth correlation"),
    ("profile_depth_correlation", "profile depth correlation"),
    ("frontal_depth_rmse", "frontal depth RMSE"),
    ("profile_depth_rmse", "profile depth RMSE"),
    ("frontal_side_percent", "frontal depth SIDE, percent"),
    ("profile_side_percent", "profile depth SIDE, percent"),
    ("frontal_mad_degrees", "frontal normals MAD, degrees"),
    ("profile_mad_degrees", "profile normals MAD, degrees"),
    ("relief_correlation", "relief correlation (brow, nose)"),
    ("nose_height", "nose, height"),
    ("eye_depth", "eye sockets, depth"),
    ("width", "width"),
    ("height", "height"),
    ("length", "length (front to back)"),
    ("mean_radius", "mean radius"),
    ("depth_to_width", "depth range / width"),
    ("depth_diversity", "depth diversity (std)"),
    ("coverage_median", "coverage, median"),
    ("front_depth_to_width", "each front, depth / width"),
    ("convexity", "convexity of the front"),
    ("hollow_share", "hollow fronts"),
    ("flipped_faces", "flipped faces"),
    ("degenerate_faces", "degenerate faces"),
    ("edge_ratio", "edges, 99% / median"),
    ("background_distance", "picture - background, RMS"),
    ("object_contrast", "object - background, RMS"),
    ("size_against_start", "radius / start radius"),
    ("failed", "degenerate samples"),
    ("mmd", "MMD (Chamfer)"),
    ("cov", "COV (Chamfer)"),
    ("one_nna", "1-NNA (Chamfer), 0.5 best"),
    ("f_score", "F-score at 0.05"),
    ("aligned_mmd", "aligned MMD"),
    ("aligned_cov", "aligned COV"),
    ("aligned_one_nna", "aligned 1-NNA"),
    ("aligned_f_score", "aligned F-score"),
    ("alignment_scale", "alignment, scale"),
    ("alignment_degrees", "alignment, degrees"),
    ("alignment_shift", "alignment, shift"),
    ("radial_offset_percent", "mean radii, offset in percent"),
    ("radial_variety", "variety in the true modes"),
    ("radial_wandering_percent", "outside of these, percent"),
    ("radial_free_modes", "modes that vary independently"),
    ("radial_one_nna", "1-NNA (radii)"),
    ("radial_one_nna_mean", "  with the true mean"),
    ("radial_one_nna_variety", "  and variety"),
    ("radial_one_nna_modes", "  and nothing outside"),
    ("radial_one_nna_free", "  and independent modes"),
    ("swd", "images, SWD x 1000"),
    ("fid", "images, FID"),
    ("kid", "images, KID"),
    ("kid_std", "images, KID's standard error"),
    ("pose_mae_degrees", "pose, mean error in degrees"),
    ("yaw_mae_degrees", "pose, yaw"),
    ("pitch_mae_degrees", "pose, pitch"),
    ("aligned_pose_mae_degrees", "pose without constant offset"),
    ("yaw_offset_degrees", "pose, offset of yaw"),
    ("yaw_correlation", "pose, correlation of yaw"),
)


def format_table(report: Mapping[str, Mapping[str, float | None]]) -> str:
    """The report as aligned text, one column per family; rows that nobody has are left out.

    >>> print(format_table({"run": {"frontal_iou": 0.967}, "truth": {"frontal_iou": 1.0}}))
                                           run     truth
    frontal silhouette IoU               0.967     1.000
    """
    titles = list(report)
    width = max(10, *(len(title) + 2 for title in titles))
    lines = [" " * 32 + "".join(f"{title:>{width}}" for title in titles)]
    for key, label in TABLE_ROWS:
        values = [report[title].get(key) for title in titles]
        if all(value is None for value in values):
            continue
        cells = ("-" if value is None else f"{value:.3f}" for value in values)
        lines.append(f"{label:<32}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)

"""Real data sets and sixty tiny ones, many of them odd on purpose: what `inspect` sees in each of them."""

from pathlib import Path

import pytest

from reprolens.convert.formats import labelled
from reprolens.convert.inspection import inspect
from reprolens.errors import DataError

ROOT = Path(__file__).parents[2]

Row = tuple[str, int, int, int, int, int]
"""The format found, and the numbers of pictures, boxes, classes, labels and masks."""

SETS: dict[str, Row] = {
    "bccd_voc": ("voc", 364, 4888, 3, 0, 0),
    "car_damage_via": ("via", 78, 164, 1, 0, 0),
    "membrane_seg": ("masks", 30, 0, 1, 0, 30),
    "omniglot": ("class_folders", 5840, 0, 242, 5840, 0),
    "signdigits": ("class_folders", 500, 0, 10, 500, 0),
}

NO_SETS = {
    "checkpoints": "in none of the formats known",
    "format_fixtures": "could be",
    "voc100_multiformat": "could be",
}

FIXTURES: dict[str, Row] = {
    "ade20k2017_dataset": ("class_folders", 10, 0, 3, 10, 0),
    "ade20k2020_dataset": ("class_folders", 20, 0, 6, 20, 0),
    "ade20k2020_dataset/dataset": ("class_folders", 14, 0, 3, 10, 0),
    "ade20k2020_dataset/dataset_with_meta_file": ("class_folders", 6, 0, 2, 6, 0),
    "ava_dataset": ("class_folders", 4, 0, 2, 4, 0),
    "ava_dataset/frames": ("class_folders", 4, 0, 2, 4, 0),
    "camvid_dataset": ("masks", 4, 0, 31, 0, 4),
    "cityscapes_dataset": ("masks", 8, 0, 30, 0, 8),
    "cityscapes_dataset/dataset": ("masks", 4, 0, 30, 0, 4),
    "cityscapes_dataset/train_dataset": ("masks", 4, 0, 19, 0, 4),
    "coco_dataset": ("coco", 20, 20, 3, 3, 0),
    "coco_dataset/coco": ("coco", 2, 3, 3, 0, 0),
    "coco_dataset/coco_captions": ("coco", 2, 0, 0, 0, 0),
    "coco_dataset/coco_image_info": ("coco", 2, 0, 0, 0, 0),
    "coco_dataset/coco_instances": ("coco", 2, 3, 3, 0, 0),
    "coco_dataset/coco_labels": ("coco", 2, 0, 2, 3, 0),
    "coco_dataset/coco_panoptic": ("coco", 2, 3, 2, 0, 0),
    "coco_dataset/coco_person_keypoints": ("coco", 2, 3, 2, 0, 0),
    "coco_dataset/coco_roboflow": ("coco", 2, 3, 3, 0, 0),
    "coco_dataset/coco_stuff": ("coco", 2, 2, 2, 0, 0),
    "coco_dataset/mmdet_coco": ("coco", 2, 3, 3, 0, 0),
    "common_semantic_segmentation_dataset": ("masks", 4, 0, 5, 0, 3),
    "common_semantic_segmentation_dataset/dataset": ("masks", 2, 0, 5, 0, 2),
    "common_semantic_segmentation_dataset/non_standard_dataset": ("masks", 2, 0, 7, 0, 2),
    "cvat_dataset": ("cvat", 11, 8, 5, 0, 0),
    "cvat_dataset/for_images": ("cvat", 8, 7, 2, 0, 0),
    "cvat_dataset/for_video": ("cvat", 3, 1, 3, 0, 0),
    "dota_dataset": ("yolo", 3, 4, 2, 0, 0),
    "dota_dataset/train": ("yolo", 2, 2, 2, 0, 0),
    "dota_dataset/val": ("yolo", 1, 2, 2, 0, 0),
    "explore_dataset": ("class_folders", 24, 0, 4, 24, 0),
    "icdar_dataset": ("class_csv", 6, 0, 2, 2, 0),
    "icdar_dataset/text_segmentation": ("masks", 1, 0, 4, 0, 1),
    "icdar_dataset/word_recognition": ("class_csv", 2, 0, 2, 2, 0),
    "image_zip_dataset": ("class_folders", 2, 0, 2, 2, 0),
    "imagenet_dataset": ("class_folders", 4, 0, 3, 3, 0),
    "imagenet_subsets_dataset": ("class_folders", 12, 0, 3, 9, 0),
    "imagenet_subsets_dataset/test": ("class_folders", 4, 0, 3, 3, 0),
    "imagenet_subsets_dataset/train": ("class_folders", 4, 0, 3, 3, 0),
    "imagenet_subsets_dataset/val": ("class_folders", 4, 0, 3, 3, 0),
    "imagenet_txt_dataset": ("class_csv", 4, 0, 10, 5, 0),
    "imagenet_txt_dataset/basic": ("class_csv", 4, 0, 10, 4, 0),
    "kaggle_dataset/image_csv": ("class_csv", 5, 0, 2, 5, 0),
    "kaggle_dataset/image_csv_det": ("tf_csv", 3, 18, 2, 0, 0),
    "kaggle_dataset/image_csv_multi_label": ("class_csv", 6, 0, 3, 9, 0),
    "kaggle_dataset/image_mask": ("masks", 2, 0, 1, 0, 2),
    "kaggle_dataset/image_mask_with_labelmap": ("masks", 3, 0, 2, 0, 3),
    "kaggle_dataset/image_txt": ("class_csv", 5, 0, 2, 5, 0),
    "kaggle_dataset/image_txt_det": ("tf_csv", 3, 6, 2, 0, 0),
    "kaggle_dataset/relaxed_coco": ("coco", 2, 2, 2, 0, 0),
    "kaggle_dataset/relaxed_voc1": ("voc", 2, 2, 2, 0, 0),
    "kaggle_dataset/relaxed_voc2": ("voc", 2, 2, 2, 0, 0),
    "kaggle_dataset/relaxed_yolo": ("yolo", 2, 4, 5, 0, 0),
    "kitti_dataset": ("kitti", 10, 7, 3, 0, 0),
    "kitti_dataset/kitti_3d": ("kitti", 1, 2, 2, 0, 0),
    "kitti_dataset/kitti_detection": ("kitti", 2, 5, 2, 0, 0),
    "labelme_dataset": ("labelme", 1, 7, 7, 0, 0),
    "labelme_dataset/Annotations": ("labelme", 1, 7, 7, 0, 0),
    "mapillary_vistas_dataset": ("coco", 15, 0, 3, 0, 0),
    "mapillary_vistas_dataset/train": ("coco", 5, 0, 3, 0, 0),
    "mapillary_vistas_dataset/val": ("coco", 10, 0, 3, 0, 0),
    "mars_dataset": ("class_folders", 3, 0, 3, 3, 0),
    "mars_dataset/bbox_train": ("class_folders", 2, 0, 2, 2, 0),
    "mvtec_dataset": ("masks", 3, 0, 1, 0, 2),
    "mvtec_dataset/category_0": ("masks", 3, 0, 1, 0, 2),
    "open_images_dataset": ("open_images", 6, 2, 4, 3, 0),
    "open_images_dataset/v5": ("open_images", 2, 0, 2, 0, 0),
    "open_images_dataset/v6": ("open_images", 4, 2, 4, 3, 0),
    "roboflow_dataset/coco": ("coco", 3, 4, 2, 0, 0),
    "roboflow_dataset/createml": ("createml", 3, 4, 2, 0, 0),
    "roboflow_dataset/multiclass": ("class_csv", 3, 0, 2, 4, 0),
    "roboflow_dataset/tfrecord": ("tfrecord", 3, 4, 2, 0, 0),
    "roboflow_dataset/voc": ("voc", 3, 4, 2, 0, 0),
    "roboflow_dataset/yolo": ("yolo", 3, 4, 2, 0, 0),
    "roboflow_dataset/yolo_obb": ("yolo", 3, 4, 2, 0, 0),
    "synthia_dataset": ("masks", 10, 0, 4, 0, 4),
    "synthia_dataset/al": ("masks", 2, 0, 13, 0, 2),
    "synthia_dataset/rand": ("masks", 2, 0, 13, 0, 2),
    "synthia_dataset/rand_custom_labelmap": ("masks", 2, 0, 4, 0, 2),
    "synthia_dataset/rand_meta_file": ("masks", 2, 0, 4, 0, 2),
    "synthia_dataset/sf": ("masks", 2, 0, 30, 0, 2),
    "tf_detection_api_dataset": ("tfrecord", 3, 3, 10, 0, 0),
    "vgg_face2_dataset/train": ("class_folders", 3, 0, 2, 3, 0),
    "voc_dataset": ("voc", 8, 6, 20, 0, 1),
    "voc_dataset/voc_dataset1": ("voc", 2, 2, 20, 0, 1),
    "voc_dataset/voc_dataset2": ("voc", 5, 3, 20, 0, 0),
    "voc_dataset/voc_dataset3": ("voc", 1, 1, 1, 0, 0),
    "vott_csv_dataset": ("vott", 8, 7, 2, 0, 0),
    "vott_csv_dataset/dataset": ("vott", 4, 5, 2, 0, 0),
    "vott_csv_dataset/dataset_with_meta_file": ("vott", 4, 2, 2, 0, 0),
    "vott_json_dataset": ("vott", 6, 7, 3, 0, 0),
    "vott_json_dataset/dataset": ("vott", 3, 4, 3, 0, 0),
    "vott_json_dataset/dataset_with_meta_file": ("vott", 3, 3, 3, 0, 0),
    "widerface_dataset/WIDER_train": ("class_folders", 2, 0, 2, 2, 0),
    "yolo_dataset": ("yolo", 4, 8, 10, 0, 0),
    "yolo_dataset/annotations": ("yolo", 1, 2, 10, 0, 0),
    "yolo_dataset/labels": ("yolo", 2, 4, 10, 0, 0),
    "yolo_dataset/strict": ("yolo", 1, 2, 10, 0, 0),
}
"""Folders of format_fixtures/assets, one and two levels deep. Boxes are counted before any is judged.

Some are other things than they look like, and nobody can tell: frames of videos and faces in folders count as classes
(ava_dataset, mars_dataset, vgg_face2_dataset, widerface_dataset), and so do the words in a picture (icdar_dataset).
"""

SEVERAL = ("kaggle_dataset", "roboflow_dataset")
"""Folders that hold data sets of several formats."""

NONE = (
    "ade20k2017_dataset/dataset", "ade20k2017_dataset/dataset_with_meta_file", "algorithms",
    "algorithms/noisy_label_detection_cls", "algorithms/noisy_label_detection_det", "align_celeba_dataset",
    "align_celeba_dataset/dataset", "align_celeba_dataset/dataset_with_meta_file", "ava_dataset/annotations",
    "brats_dataset", "brats_dataset/imagesTr", "brats_dataset/imagesTs", "brats_dataset/labelsTr",
    "brats_numpy_dataset", "camvid_dataset/test", "camvid_dataset/testannot", "camvid_dataset/train",
    "camvid_dataset/trainannot", "camvid_dataset/val", "camvid_dataset/valannot", "celeba_dataset",
    "celeba_dataset/dataset", "celeba_dataset/dataset_with_meta_file", "cifar100_dataset", "cifar10_dataset",
    "common_super_resolution_dataset", "common_super_resolution_dataset/HR", "common_super_resolution_dataset/LR",
    "common_super_resolution_dataset/upsampled", "compat", "compat/v0.1", "datumaro_dataset", "datumaro_dataset/legacy",
    "explore_dataset/bird", "explore_dataset/cat", "explore_dataset/dog", "explore_dataset/monkey",
    "icdar_dataset/text_localization", "image_dir_dataset", "imagenet_dataset/label_0", "imagenet_dataset/label_1",
    "imagenet_txt_dataset/custom_labels", "imagenet_txt_dataset/no_labels", "kinetics_dataset",
    "kinetics_dataset/train", "kitti_dataset/kitti_raw", "kitti_dataset/kitti_segmentation", "labelme_dataset/Images",
    "labelme_dataset/Masks", "labelme_dataset/Scribbles", "lfw_dataset", "lfw_dataset/test", "market1501_dataset",
    "market1501_dataset/bounding_box_test", "market1501_dataset/bounding_box_train", "market1501_dataset/query",
    "mars_dataset/bbox_test", "mnist_csv_dataset", "mnist_dataset", "mot_dataset", "mot_dataset/mot_seq",
    "mot_dataset/mot_seq_with_seqinfo", "mots_dataset", "mots_dataset/train", "mots_dataset/val", "mpii_dataset",
    "mpii_json_dataset", "mpii_json_dataset/dataset_with_numpy_files", "mpii_json_dataset/dataset_wo_numpy_files",
    "nyu_depth_v2_dataset", "pytorch_launcher", "rise", "sampler", "segment_anything_dataset", "sly_pointcloud_dataset",
    "sly_pointcloud_dataset/ds0", "synthetic_dataset", "synthetic_dataset/images", "tabular_dataset",
    "tabular_dataset/adopt-a-buddy", "tabular_dataset/women-clothing", "vgg_face2_dataset",
    "vgg_face2_dataset/bb_landmark", "vgg_face2_dataset/test", "video_dataset", "widerface_dataset",
    "widerface_dataset/WIDER_val", "widerface_dataset/wider_face_split",
)  # fmt: skip
"""Folders of videos, point clouds, tables, poses and others that are no data set of a format known, or half of one."""


def _seen(folder: Path) -> Row:
    values = inspect(labelled("auto", str(folder), None, ROOT))
    counts = (values["images"], values["boxes"], len(values["classes"]), values["labels"], values["masks"])
    return (values["source"][0]["format"], *counts)


@pytest.mark.parametrize("name", SETS)
def test_a_real_data_set_holds_what_its_makers_say(name: str, shared_data: Path) -> None:
    assert _seen(shared_data / name) == SETS[name]


@pytest.mark.parametrize("name", NO_SETS)
def test_a_folder_of_several_sets_or_none_is_refused(name: str, shared_data: Path) -> None:
    with pytest.raises(DataError, match=NO_SETS[name]):
        _seen(shared_data / name)


@pytest.mark.parametrize("name", FIXTURES)
def test_a_tiny_data_set_holds_what_is_in_its_files(name: str, shared_data: Path) -> None:
    assert _seen(shared_data / "format_fixtures" / "assets" / name) == FIXTURES[name]


def test_a_folder_of_several_formats_is_refused_with_the_candidates(shared_data: Path) -> None:
    for name in SEVERAL:
        with pytest.raises(DataError, match=r"could be \w+: .*; or \w+: .*Choose the format"):
            _seen(shared_data / "format_fixtures" / "assets" / name)


def test_a_folder_of_no_format_is_refused_with_what_it_holds(shared_data: Path) -> None:
    for name in NONE:
        with pytest.raises(DataError, match=r"in none of the formats known \(voc, .*\); it holds \S"):
            _seen(shared_data / "format_fixtures" / "assets" / name)


def test_no_fixture_is_left_out(shared_data: Path) -> None:
    root = shared_data / "format_fixtures" / "assets"
    folders = {path.relative_to(root).as_posix() for path in [*root.glob("*/"), *root.glob("*/*/")] if path.is_dir()}
    assert folders == {*FIXTURES, *SEVERAL, *NONE}

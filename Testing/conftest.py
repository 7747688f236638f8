"""What every test file shares."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny networks on many threads spend their time waiting for each other, the more so on a busy machine."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)


@pytest.fixture(scope="session")
def data_folder():
    """Real scans, kept outside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ICHMULTITASK_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is missing; set ICHMULTITASK_DATA")
    return folder


def head_affine(tilt_deg=0.0, step_mm=5.0, pixel_mm=4.0, size=56, slices=32):
    """IJK-to-RAS affine of an axial stack centered on the origin; the tilt shears it as a gantry does."""
    angle = np.radians(tilt_deg)
    affine = np.eye(4)
    affine[:3, 0] = [-pixel_mm, 0, 0]
    affine[:3, 1] = [0, -pixel_mm * np.cos(angle), -pixel_mm * np.sin(angle)]
    affine[:3, 2] = [0, 0, step_mm]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array([size, size, slices]) - 1) / 2)
    return affine


def head_hu(affine, size=56, slices=32):
    """Ellipsoid head in HU, int16 (slices, size, size): air, scalp, skull 8 mm thick, brain."""
    k, j, i = np.indices((slices, size, size))
    ras = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    half_axes = np.array([72.0, 90.0, 70.0])
    hu = np.full((slices, size, size), -1000, dtype=np.int16)
    for shrink, value in ((0.0, 20), (6.0, 900), (14.0, 32)):
        hu[((ras / (half_axes - shrink)) ** 2).sum(-1) < 1] = value
    return hu


def write_series(folder, hu, affine, name="slice", offsets=None, change=None, **attributes):
    """Write slices as classic CT images.

    Parameters
    ----------
    folder : Path
    hu : ndarray of shape (K, J, I), int16
    affine : ndarray of shape (4, 4)
        IJK to RAS; may be sheared.
    name : str
        Start of the file names.
    offsets : sequence of K, optional
        Place of each slice along the k column, in slices; default 0, 1, 2, …
    change : callable (dataset, k), optional
        Called before each file is written; returning False leaves it out.
    **attributes
        DICOM attributes set on every image; None deletes one.

    Returns
    -------
    list of Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    common = {
        "PatientID": "P1", "PatientName": "Doe^Jane", "StudyInstanceUID": "1.2.3", "StudyDate": "20260102",
        "SeriesInstanceUID": "1.2.3.4", "SeriesDescription": "HEAD 5.0 H31s", "Manufacturer": "Acme", "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "ConvolutionKernel": "H31s", "BodyPartExamined": "HEAD",
        "SliceThickness": round(float(spacing[2]), 4), "PixelSpacing": [float(spacing[1]), float(spacing[0])],
        "ImageOrientationPatient": [f"{x:.12f}"[:16] for x in (*lps[:3, 0] / spacing[0], *lps[:3, 1] / spacing[1])],
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16,
        "HighBit": 15, "PixelRepresentation": 1, "RescaleSlope": 1, "RescaleIntercept": 0,
    }  # fmt: skip
    paths = []
    for k, plane in enumerate(hu):
        place = k if offsets is None else offsets[k]
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset(None, Dataset(), preamble=b"\0" * 128, file_meta=meta)
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.InstanceNumber, dataset.AcquisitionNumber = k + 1, 1
        position = lps[:3, 3] + place * lps[:3, 2]
        dataset.ImagePositionPatient = [f"{x:.10f}"[:16] for x in position]
        dataset.Rows, dataset.Columns = plane.shape
        for keyword, value in {**common, **attributes}.items():
            if value is not None:
                setattr(dataset, keyword, value)
        dataset.PixelData = np.ascontiguousarray(plane).tobytes()
        if change is not None and change(dataset, k) is False:
            continue
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        paths.append(folder / f"{name}{k:03d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


class DicomFiles:
    """The helpers above for test files, which cannot import this one."""

    affine = staticmethod(head_affine)
    head = staticmethod(head_hu)
    write = staticmethod(write_series)


@pytest.fixture(scope="session")
def dicom_files():
    """Helpers that make heads and write them as DICOM."""
    return DicomFiles


@pytest.fixture(scope="session")
def small_settings():
    """Settings of a training run that takes a second."""
    stage_strides = [1, 2, [1, 2, 2], 1]
    return {
        "architecture": {"width": 4, "stem_stride": [1, 2, 2], "stage_strides": stage_strides, "final_relu": False},
        "preprocessing": {"window_hu": [0, 100], "shape_kji": [8, 32, 32], "average": True, "max_height_mm": 170},
        "batch_size": 4,
        "coarse_epochs": [[2, 1]],
        "epochs": 1,
    }


@pytest.fixture(scope="session")
def with_columns(training_manifest, tmp_path_factory):
    """Write the table of `training_manifest` with further columns; of each row, they are `columns(n, row)`."""

    def write(columns):
        path = tmp_path_factory.mktemp("table") / "manifest.csv"
        with training_manifest.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for n, row in enumerate(rows):
            for name in ("image", "mask"):
                row[name] = str(training_manifest.parent / row[name])
            row |= columns(n, row)
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


@pytest.fixture(scope="session")
def training_manifest(tmp_path_factory):
    """The table of 20 heads with a ball of blood each, with masks."""
    folder, spacing = tmp_path_factory.mktemp("cohort"), np.array([3.6, 3.6, 8.0])
    rng, rows = np.random.default_rng(0), []
    k, j, i = np.mgrid[:20, :64, :64].astype(np.float32)
    xyz = (np.stack([i - 32, j - 32, k - 10], axis=-1)) * spacing
    radius = np.sqrt(((xyz / [72, 90, 72]) ** 2).sum(-1))
    for n in range(20):
        hu = np.where(radius < 1, 1000.0, -1000.0)
        hu[radius < 0.92] = 33
        size, center = rng.uniform(12, 34), rng.uniform(-25, 25, 3)
        blood = ((xyz - center) ** 2).sum(-1) < size**2
        hu[blood] = 65
        for name, array in (("scan", hu + rng.normal(0, 4, hu.shape)), ("mask", blood)):
            image = sitk.GetImageFromArray(array.astype(np.int16))
            image.SetSpacing(spacing)
            sitk.WriteImage(image, str(folder / f"{name}{n}.nii.gz"))
        volume = blood.sum() * np.prod(spacing) / 1000
        location = ("lobar", "putamen")[n % 2]
        rows.append([f"p{n}", f"scan{n}.nii.gz", f"mask{n}.nii.gz", volume, int(volume > 50), location])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["patient_id", "image", "mask", "volume_ml", "died", "location"], *rows])
    return folder / "manifest.csv"

"""Write a head CT as a DICOM series or as NIfTI."""

from __future__ import annotations

import gzip
import os
import struct
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.errors import OutputError
from ..common.writing import os_error_sentence, whole_file
from ..scan.geometry import LPS_TO_RAS, tilt_deg

if TYPE_CHECKING:
    from ..scan.head_ct import HeadCT
    from .patient import SourceSlices

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_NAMESPACE = uuid.UUID("6f0e2f0c-3c35-5d9a-9f1e-7b1d9a3c5e21")


def write_dicom(head_ct: HeadCT, folder: str | os.PathLike, source_slices: SourceSlices | None = None) -> Path:
    """Write a head CT as a series of CT images that are labeled as simulated.

    Parameters
    ----------
    head_ct : HeadCT
        A gantry tilt is written as scanners do, in the image orientation.
    source_slices : SourceSlices, optional
        Slices of two thicknesses, written in place of those of the regular grid.
    folder : path
        Created if missing. UIDs depend only on the patient's ID, so that the same patient gives identical files.

    Returns
    -------
    Path
        The folder.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(len(head_ct.hu if source_slices is None else source_slices.hu)):
            _instance(head_ct, k, source_slices).save_as(folder / f"IM{k + 1:04d}.dcm", enforce_file_format=True)
    except OSError as error:
        raise OutputError(os_error_sentence(error, folder)) from error
    return folder


def _uid(*parts):
    return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(str(p) for p in parts)).int}"


def _instance(head_ct, k, source):
    """One CT image as a pydicom dataset."""
    from pydicom.dataset import FileDataset, FileMetaDataset

    facts, affine = head_ct.facts, head_ct.ijk_to_ras
    lps = LPS_TO_RAS @ affine
    row, column = (lps[:3, n] / np.linalg.norm(lps[:3, n]) for n in (0, 1))
    normal = np.cross(row, column)
    patient = facts.patient_id or "SIMULATED"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT_IMAGE_STORAGE
    meta.MediaStorageSOPInstanceUID = _uid(patient, "image", k)
    meta.TransferSyntaxUID = EXPLICIT_LITTLE_ENDIAN
    meta.ImplementationClassUID = _uid("implementation")
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.AccessionNumber = ""
    ds.Modality = "CT"
    ds.Manufacturer = facts.manufacturer or "ICHMultiTask simulation"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Head CT with simulated hematoma" if facts.path else "Simulated head CT, no patient"
    ds.SeriesDescription = facts.series_description or "Simulated head CT"
    ds.ManufacturerModelName = "Simulation"
    ds.DerivationDescription = _derivation(facts)
    ds.PatientName = facts.patient_name or f"SimulatedPatient^{patient}"
    ds.PatientID = patient
    if facts.patient_age is not None:
        ds.PatientAge = f"{int(facts.patient_age):03d}Y"
    ds.PatientBirthDate = ds.PatientSex = ""
    ds.PatientComments = "Simulated"
    ds.BodyPartExamined = "HEAD"
    step = np.linalg.norm(lps[:3, 2])
    steps, hu = (k, head_ct.hu) if source is None else (source.offsets_mm[k] / step, source.hu)
    thickness = abs(float(normal @ lps[:3, 2])) if source is None else float(source.thickness_mm[k])
    ds.SliceThickness = _decimal(thickness)
    ds.KVP = "120"
    ds.ProtocolName = "Simulated head CT without contrast"
    ds.PatientPosition = "HFS"
    # The angle of the shear; the attribute is only informative, since readers take the geometry from the orientation.
    ds.GantryDetectorTilt = _decimal(tilt_deg(affine))
    ds.ConvolutionKernel = facts.kernel or "soft"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(patient, "study"), _uid(patient, "series")
    ds.FrameOfReferenceUID = _uid(patient, "frame")
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "1", 1, 1, k + 1
    position = lps[:3, 3] + steps * lps[:3, 2]
    ds.ImagePositionPatient = [_decimal(v) for v in position]
    ds.ImageOrientationPatient = [_decimal(v) for v in (*row, *column)]
    ds.PositionReferenceIndicator = ""
    ds.SliceLocation = _decimal(position[2])
    what = "Simulated hematoma" if facts.path else "Simulated scan: not a patient"
    ds.ImageComments = f"{what}, not for diagnosis"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = hu.shape[1:]
    ds.PixelSpacing = [_decimal(np.linalg.norm(lps[:3, n])) for n in (1, 0)]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.WindowCenter, ds.WindowWidth = "40", "80"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    stored = np.clip(np.rint(hu[k]), -1024, 3071).astype("<i2") + 1024
    ds.PixelData = stored.astype("<i2").tobytes()
    return ds


def _derivation(facts):
    if facts.path:
        return "A simulated hematoma was inserted into a head CT"
    return "Computed from a parametric model of the head; shows no patient"


def _decimal(value):
    """A decimal string of at most 16 characters (DICOM value representation DS)."""
    value = float(value) + 0.0
    for digits in range(12, 0, -1):
        text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
        if len(text) <= 16:
            return "0" if text in ("-0", "") else text
    return f"{value:.8e}"


def write_nifti(
    array: np.ndarray, ijk_to_ras: np.ndarray, path: str | os.PathLike, description: str = "Simulated, no patient "
) -> Path:
    """Write an array as NIfTI-1, compressed if the name ends in .gz.

    SimpleITK cannot write the shear of a tilted scan, so the header is written here: the sform is the exact affine, the
    qform code is 0.

    Parameters
    ----------
    array : ndarray of int16 or uint8, shape (K, J, I)
    ijk_to_ras : ndarray of shape (4, 4)
    path : path
    description : str
        At most 79 characters.
    """
    path, affine = Path(path), np.asarray(ijk_to_ras, float)
    code = {"int16": 4, "uint8": 2}[array.dtype.name]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *array.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, array.dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)
    header[123] = 2  # millimeters
    header[148 : 148 + len(description)] = description.encode("ascii")
    struct.pack_into("<2h", header, 252, 0, 1)
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    header[344:348] = b"n+1\0"
    data = bytes(header) + np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    if path.name.endswith(".gz"):
        # Time 0, so that the same array gives identical files.
        data = gzip.compress(data, compresslevel=3, mtime=0)
    with whole_file(path) as file:
        file.write(data)
    return path

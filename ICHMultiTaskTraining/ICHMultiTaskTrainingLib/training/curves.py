"""Curves of a run: a picture (the paper's Figure 3) and a log that TensorBoard reads."""

import struct

from ..data.storage import appended, whole_file

PANELS = {
    "Loss": {"volume_loss": "volume", "prognosis_loss": "prognosis", "mask_loss": "mask"},
    "Mean absolute error (mL)": {"train_mae_ml": "training", "validation_mae_ml": "validation"},
    "Mean squared error (mL²)": {"train_mse_ml2": "training", "validation_mse_ml2": "validation"},
    "AUC of the prognosis": {"validation_auc": "validation"},
}
"""Title of each panel and its entries of the history, with what they are called in the legend."""
EVENTS = "events.out.tfevents.0.ichmultitask"
"""TensorBoard finds logs by the part "tfevents" of their name."""


def draw_curves(history, path):
    """Draw the losses, MAE, MSE and AUC against the epoch; nothing where matplotlib is not installed.

    Parameters
    ----------
    history : list of dict
        An entry an epoch, as in `history.json`; entries may be missing or None.
    path : path
        PNG file, replaced whole.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        return
    figure = Figure(figsize=(10, 7), layout="constrained")  # without pyplot: no window system, no global state
    FigureCanvasAgg(figure)
    changes = [b["epoch"] for a, b in zip(history, history[1:]) if a.get("reduction", 1) != b.get("reduction", 1)]
    for panel, (axes, (title, curves)) in enumerate(zip(figure.subplots(2, 2).flat, PANELS.items())):
        for name, label in curves.items():
            points = [(entry["epoch"], entry[name]) for entry in history if entry.get(name) is not None]
            if any(value for _, value in points):  # a loss of weight 0 is 0 throughout
                axes.plot(*zip(*points), marker="." if len(points) < 40 else None, label=label)
        for n, epoch in enumerate(changes):
            label = "finer images" if n == panel == 0 else None
            axes.axvline(epoch - 0.5, color="0.7", linestyle=":", linewidth=1, label=label)
        axes.set(xlabel="Epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.set_ylim(*((None, 1.02) if title.startswith("AUC") else (0, None)))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    with whole_file(path) as file:
        figure.savefig(file, dpi=120, format="png")


def write_events(history, path):
    """Write the history as an event log of TensorBoard.

    The format is fixed and small, and the tensorboard package would put a dozen others into Slicer's Python. What the
    file lacks is appended, so that a reader may follow it; that holds after a record cut off by a kill as well, since
    the same history gives the same bytes.

    Parameters
    ----------
    history : list of dict
        As in `draw_curves`; `ended` is the time of each entry in seconds since 1970.
    path : path
        In the run's folder, named `EVENTS`.
    """
    start = history[0].get("ended", 0.0) if history else 0.0
    records = [_event(start, _bytes(3, b"brain.Event:2"))]
    for entry in history:
        for name, value in entry.items():
            if name not in ("epoch", "ended") and value is not None:
                tag = name.replace("_", "/", 1) if name.startswith(("train_", "validation_")) else name
                # Event.summary (5) → Summary.value (1) → tag (1), simple_value (2)
                scalar = _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value)
                step = b"\x10" + _varint(entry["epoch"])
                records.append(_event(entry.get("ended", 0.0), step + _bytes(5, _bytes(1, scalar))))
    data = b"".join(records)
    with appended(path) as file:
        file.write(data[file.tell() :])


def _event(seconds, rest):
    """A record of a TFRecord file that holds an Event message: wall_time (1) and the rest."""
    data = b"\x09" + struct.pack("<d", seconds) + rest
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _bytes(field, value):
    return bytes([field << 3 | 2]) + _varint(len(value)) + value


def _varint(number):
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def _crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)  # CRC-32C, not the polynomial of zlib
        table.append(n)
    return table


_CRC = _crc_table()


def _masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

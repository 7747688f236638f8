"""The network: preprocessing, architectures, attention, bundles, calibration, runtime."""

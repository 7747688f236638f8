"""Federated training with NVIDIA FLARE: several hospitals train one model and exchange weights, but no scans."""

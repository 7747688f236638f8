"""One model by several hospitals that share no scans: only weights leave a hospital. The engine is NVIDIA FLARE."""

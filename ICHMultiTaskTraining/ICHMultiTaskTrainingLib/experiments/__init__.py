"""The paper's experiments: its networks under equal settings, its tables and figures, its claims."""

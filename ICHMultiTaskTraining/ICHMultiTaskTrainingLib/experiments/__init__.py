"""The paper's experiments: its networks trained with equal settings, its tables, figures and claims."""

"""batchline."""

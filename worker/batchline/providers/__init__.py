"""The providers: the only room that knows an SDK."""

"""The engine: from due ranges to settled requests. Plain functions and classes, no Celery."""

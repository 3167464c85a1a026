"""The Grafana dashboards as code: one module per dashboard, ``python -m grafana.source`` writes their JSON."""

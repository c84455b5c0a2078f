"""What a process measures of itself for Prometheus: no personal data, no meter, no permission in any label."""

"""The network on CPUs: a model's graph is made once of its torch code, cached, and run by OpenVINO."""

"""The networks of EG3D and TriPlaneNet, one a file."""

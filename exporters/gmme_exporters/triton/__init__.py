"""A bundle as models of NVIDIA Triton's: a repository that its server loads."""

"""Measuring on other machines: `fleet` runs `job` on each host of `hosts`."""

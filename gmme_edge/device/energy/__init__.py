"""What a machine measures of its own energy: NVML's counter, a board's power rails, RAPL.

`find.find_meters` lists the meters; each is a `meter.Meter`. Nothing here ever estimates.
"""

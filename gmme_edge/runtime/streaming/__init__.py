"""Sound that never stops: windows, an activity gate, and events; numpy and soxr only.

    chunks ─▶ mono, resampled ─▶ windows ─▶ gate ─▶ classifier ─▶ rules ─▶ events

`docs/reference/streaming.md` states every step exactly, for ports to other languages.
"""

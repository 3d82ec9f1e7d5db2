package gmme.edge

/** Where windows lie, in whole samples: docs/reference/streaming.md, section 2. */
class Grid(val rateHz: Int, val window: Int, hopUs: Int = 0) {
    /** By default a quarter of a window. */
    val hopUs: Long = if (hopUs > 0) hopUs.toLong() else (250_000L * window + rateHz - 1) / rateHz

    init {
        require(this.hopUs * rateHz in 1_000_000..window * 1_000_000L) {
            "a hop is at least one sample and at most one window"
        }
    }

    /** The first sample of a window. */
    fun start(index: Int): Long = index * hopUs * rateHz / 1_000_000

    /** What a window speaks for: its first sample, and the one after its last. */
    fun cell(index: Int): Pair<Long, Long> {
        val lead = (window - hopUs * rateHz / 1_000_000) / 2
        return Pair(if (index > 0) start(index) + lead else 0, start(index + 1) + lead)
    }

    fun wholeWindows(total: Long): Int =
        if (total < window) 0
        else (((total - window + 1) * 1_000_000 - 1) / (hopUs * rateHz)).toInt() + 1

    /** Where the last window begins that hears what whole windows left over; null: they left nothing. */
    fun tail(total: Long): Long? {
        val whole = wholeWindows(total)
        val heard = if (whole > 0) start(whole - 1) + window else 0
        return if (heard == total) null else maxOf(0, total - window)
    }
}

package gmme.edge

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/**
 * A classifier that listens: chunks in, events out (docs/reference/streaming.md). One source, one
 * thread. Any way of cutting the sound into chunks gives the same events.
 *
 * @param inputHz the source's rate.
 * @param classify gives the probabilities of one window.
 */
class Stream(
    labels: List<String>,
    private val grid: Grid,
    private val inputHz: Int,
    private val classify: (FloatArray) -> DoubleArray,
    rules: EventRules = EventRules(),
    gated: Boolean = true
) {
    /** Windows that have passed, and how many of them were computed. */
    var windows = 0
        private set
    var computed = 0
        private set

    private val resampler = Resampler(inputHz, grid.rateHz)
    private val tracker = Tracker(labels, grid, rules)
    private val gate = if (gated) ActivityGate(grid.rateHz) else null
    private val last = FloatArray(grid.window) // what was heard last, at its end
    private var input = 0L // samples at the source's rate, lost ones too
    private var base = 0L
    private var heard = 0L
    private var index = 0

    /** Hears mono samples at full scale 1; the events that end with them. */
    fun push(samples: FloatArray): List<Event> {
        require(samples.all { abs(it) <= 1e30f }) { "a chunk has NaN, infinite or huge samples" }
        input += samples.size
        return hear(resampler.push(samples))
    }

    /** Hears what is left and ends all events. What is pushed afterwards begins a new segment. */
    fun flush(): List<Event> {
        val ended = ArrayList(hear(resampler.finish()))
        grid.tail(heard)?.let { start ->
            val (from, _) = grid.cell(grid.wholeWindows(heard))
            ended += window(start, from, heard)
        }
        ended += tracker.finish(base + heard)
        startSegment()
        return ended
    }

    /** `lost` samples of the source never came: open events end, the time goes on. */
    fun skip(lost: Int): List<Event> {
        require(lost > 0) { "a gap has at least one sample" }
        val ended = flush()
        input += lost
        startSegment()
        return ended
    }

    private fun startSegment() {
        base = max(base + heard, input * grid.rateHz / inputHz)
        heard = 0
        index = 0
        last.fill(0f)
        gate?.startSegment()
    }

    private fun hear(samples: FloatArray): List<Event> {
        val ended = ArrayList<Event>()
        var at = 0
        while (at < samples.size) {
            val missing = grid.start(index) + grid.window - heard
            val count = min(missing, samples.size.toLong() - at).toInt()
            keep(samples, at, count)
            gate?.hear(samples, at, at + count)
            at += count
            heard += count
            if (count < missing) break
            val (from, to) = grid.cell(index)
            ended += window(grid.start(index), from, to)
            index++
        }
        return ended
    }

    private fun keep(samples: FloatArray, at: Int, count: Int) {
        val size = min(count, last.size)
        last.copyInto(last, 0, size)
        samples.copyInto(last, last.size - size, at + count - size, at + count)
    }

    private fun window(start: Long, from: Long, to: Long): List<Event> {
        var row: DoubleArray? = null
        if (gate?.isOpen(start) != false) {
            // A segment that is shorter than a window stands at its beginning, before zeros.
            val known = min(heard, last.size.toLong()).toInt()
            row = classify(last.copyInto(FloatArray(last.size), 0, last.size - known))
            computed++
        }
        return tracker.hear(base + from, base + to, row, windows++)
    }
}

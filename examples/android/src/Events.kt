package gmme.edge

import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min

// From the probabilities of windows to events: docs/reference/streaming.md, section 4.

/** A sound that was heard. */
class Event(val label: String, val startSample: Long, val sampleRateHz: Int) {
    var endSample = startSample
        internal set
    var peak = 0.0
        private set
    var firstWindow = -1
        private set
    var lastWindow = -1
        private set
    var windows = 0
        private set
    private var total = 0.0
    val mean get() = total / windows
    val startS get() = seconds(startSample)
    val endS get() = seconds(endSample)

    private fun seconds(sample: Long) = Math.round(1e6 * sample / sampleRateHz) / 1e6

    internal fun count(probability: Double?, window: Int) {
        if (lastWindow == window) return
        if (lastWindow < 0) firstWindow = window
        lastWindow = window
        if (probability != null) {
            peak = max(peak, probability)
            total += probability
            windows++
        }
    }
}

/** One label's way from probabilities to events; all times in samples. */
private class Track(private val label: String, private val rule: Rule, private val grid: Grid) {
    var smooth = 0.0
    var sounding = false
    val weight = if (rule.smoothingS > 0) 1 - exp(-grid.hopUs / 1e6 / rule.smoothingS) else 1.0
    private val least = samples(rule.minDurationS)
    private val merge = samples(rule.mergeGapS)
    private val most = rule.maxDurationS?.let { max(1, samples(it)) }
    private val refractory = samples(rule.refractoryS)
    private var quietUntil = 0L
    private var open: Event? = null

    private fun samples(seconds: Double) = floor(seconds * grid.rateHz + 0.5).toLong()

    fun hear(start: Long, end: Long, probability: Double?, window: Int, ended: MutableList<Event>) {
        var position = start
        while (position < end && smooth >= (if (sounding) rule.off else rule.on)) {
            // It cannot grow as far as this.
            if (open?.let { reach(it, end) <= position } == true) close(ended)
            if (open == null) {
                position = max(position, quietUntil)
                if (position >= end || probability == null) return fallSilent(end, ended)
            }
            val event = open ?: Event(label, position, grid.rateHz).also { open = it }
            position = reach(event, end)
            event.endSample = position
            event.count(probability, window)
            sounding = true
            if (most != null && position == event.startSample + most) {
                close(ended)
                sounding = refractory == 0L
            }
        }
        if (position < end) fallSilent(end, ended)
    }

    private fun fallSilent(end: Long, ended: MutableList<Event>) {
        sounding = false
        if (open?.let { end - it.endSample > merge } == true) close(ended)
    }

    private fun reach(event: Event, end: Long) =
        if (most == null) end else min(end, event.startSample + most)

    fun close(ended: MutableList<Event>) {
        val event = open ?: return
        open = null
        if (event.endSample - event.startSample < least) return
        quietUntil = event.endSample + refractory
        ended.add(event)
    }
}

/** The rules at work: give it windows in order, take events. */
class Tracker(labels: List<String>, grid: Grid, rules: EventRules) {
    private val tracks = labels.map { label -> rules.of(label)?.let { Track(label, it, grid) } }
    private var begun = false
    private var row: DoubleArray? = null
    private var window = 0
    private var heardUntil = 0L

    init {
        rules.check(labels)
    }

    /** The events that end with this window, which speaks for its cell; without a row it is silent. */
    fun hear(start: Long, end: Long, row: DoubleArray?, window: Int): List<Event> {
        for ((i, track) in tracks.withIndex()) {
            if (track == null) continue
            val raw = if (row == null) 0.0 else row[i]
            track.smooth = if (begun) track.smooth + track.weight * (raw - track.smooth) else raw
        }
        begun = true
        this.row = row
        this.window = window
        return ArrayList<Event>().also { follow(start, end, it) }
    }

    /** Ends what is open: the sound ends at `end`, or is interrupted there. */
    fun finish(end: Long): List<Event> {
        val ended = ArrayList<Event>()
        follow(heardUntil, end, ended)
        begun = false
        for (track in tracks.filterNotNull()) {
            track.sounding = false
            track.close(ended)
        }
        return ended
    }

    private fun follow(start: Long, end: Long, ended: MutableList<Event>) {
        if (!begun || start >= end) return
        for ((i, track) in tracks.withIndex()) track?.hear(start, end, row?.get(i), window, ended)
        heardUntil = end
    }
}

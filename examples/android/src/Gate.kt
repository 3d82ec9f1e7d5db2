package gmme.edge

import java.util.ArrayDeque
import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.exp
import kotlin.math.log10
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow
import kotlin.math.sin

private const val BANDS = 16
private const val MIN_LEVEL_DBFS = -60.0
private const val LEVEL_MARGIN_DB = 8
private const val FLATNESS_MARGIN_DB = 4
private const val FLOOR_RISE_S = 12
private const val FLOOR_FALL_S = 0.5

/** Is there anything to hear? docs/reference/streaming.md, section 3. At the network's rate. */
class ActivityGate(private val rateHz: Int) {
    val size = generateSequence(1) { 2 * it }.first { it >= rateHz / 25 }
    private val taper = DoubleArray(size) { 0.5 - 0.5 * cos(2 * PI * it / size) }
    private val scale = 2 / (size * taper.sumByDouble { it * it })
    private val edges = edges()
    private val floorDb = DoubleArray(BANDS) { -100.0 }
    private val second = rateHz.toDouble() / size
    private val slowest = 1 - exp(-1 / (second * FLOOR_RISE_S))
    private val fall = 1 - exp(-1 / (second * FLOOR_FALL_S))
    private var sinceReset = 0
    private val frame = DoubleArray(size)
    private var filled = 0
    private var frames = 0L
    private val active = ArrayDeque<Long>()

    /** A frame's excess over the noise floor and its distance from flat, in dB. */
    class Measure(val excessDb: Double, val fromFlatDb: Double, val levelsDb: DoubleArray)

    /** What follows does not continue what came before; the noise floor stays. */
    fun startSegment() {
        active.clear()
        filled = 0
        frames = 0
    }

    /** Takes the next samples of the segment, any number. */
    fun hear(samples: FloatArray, from: Int = 0, until: Int = samples.size) {
        for (i in from until until) {
            frame[filled++] = samples[i].toDouble()
            if (filled < size) continue
            if (isActive()) active.add(frames)
            frames++
            filled = 0
        }
    }

    /** Whether an active frame begins at or after `start`, which must not go back. */
    fun isOpen(start: Long): Boolean {
        while (active.isNotEmpty() && active.first * size < start) active.removeFirst()
        return frames == 0L || active.isNotEmpty()
    }

    fun measure(frame: DoubleArray): Measure {
        val re = DoubleArray(size) { frame[it] * taper[it] }
        val im = DoubleArray(size)
        transform(re, im)
        val levels = DoubleArray(BANDS) { band ->
            val bins = edges[band] until edges[band + 1]
            val power = bins.sumByDouble { (re[it] * re[it] + im[it] * im[it]) * scale }
            10 * log10(max(power / (edges[band + 1] - edges[band]), 1e-10))
        }
        val above = DoubleArray(BANDS) { levels[it] - floorDb[it] }
        val excess = 10 * log10(above.sumByDouble { 10.0.pow(it / 10) } / BANDS)
        return Measure(excess, excess - above.sum() / BANDS, levels)
    }

    private fun isActive(): Boolean {
        val found = measure(frame)
        val rise = max(slowest, min(1.0, 2 / (sinceReset + second)))
        sinceReset++
        for ((band, level) in found.levelsDb.withIndex()) {
            floorDb[band] += (if (level > floorDb[band]) rise else fall) * (level - floorDb[band])
        }
        val loud = frame.sumByDouble { it * it } / size >= 10.0.pow(MIN_LEVEL_DBFS / 10)
        return loud &&
            (found.excessDb >= LEVEL_MARGIN_DB || found.fromFlatDb >= FLATNESS_MARGIN_DB)
    }

    private fun edges(): IntArray {
        val mel = { hz: Double -> 2595 * log10(1 + hz / 700) }
        val low = mel(60.0)
        val high = mel(rateHz / 2.0)
        val edges = IntArray(BANDS + 1)
        for (i in edges.indices) {
            val hz = 700 * (10.0.pow((low + (high - low) * i / BANDS) / 2595) - 1)
            edges[i] = Math.rint(hz * size / rateHz).toInt()
            if (i > 0) edges[i] = max(edges[i], edges[i - 1] + 1) // a band has one bin at least
        }
        return edges
    }
}

/** In-place Fourier transform of a power of two values. */
private fun transform(re: DoubleArray, im: DoubleArray) {
    val n = re.size
    var j = 0
    for (i in 1 until n) {
        var bit = n shr 1
        while (j and bit != 0) {
            j = j xor bit
            bit = bit shr 1
        }
        j = j xor bit
        if (i < j) {
            re[i] = re[j].also { re[j] = re[i] }
            im[i] = im[j].also { im[j] = im[i] }
        }
    }
    var half = 1
    while (half < n) {
        for (k in 0 until half) {
            val c = cos(-PI * k / half)
            val s = sin(-PI * k / half)
            for (i in k until n step 2 * half) {
                val x = re[i + half] * c - im[i + half] * s
                val y = re[i + half] * s + im[i + half] * c
                re[i + half] = re[i] - x
                im[i + half] = im[i] - y
                re[i] += x
                im[i] += y
            }
        }
        half *= 2
    }
}

package gmme.edge

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.min
import kotlin.math.sin
import kotlin.math.sqrt

private const val DECIBELS = 125

/**
 * A linear-phase low-pass filter (a sinc under a Kaiser window, 120 dB) with the pass band of soxr's
 * high quality, which the Python runtime uses: 0.913 of the lower rate's half. Its delay is
 * compensated, and n samples become the nearest whole number to n·to/from. Blocks have any size.
 */
class Resampler(fromHz: Int, toHz: Int) {
    private val common = divisor(fromHz, toHz)
    private val step = fromHz / common
    private val phases = toHz / common
    private val lower = min(1.0, toHz.toDouble() / fromHz)
    private val cutoff = 0.5 * (1 + 0.913) * lower
    private val reach =
        if (fromHz == toHz) 0
        else ((DECIBELS - 8) / (4.57 * (1 - 0.913) * lower * PI)).toInt() + 1
    private val taps = HashMap<Int, DoubleArray>()
    private var held = FloatArray(reach) // inputs from sample `first` on
    private var first = -reach.toLong()
    private var made = 0L
    private var taken = 0L

    /** What is ready after `block`. */
    fun push(block: FloatArray): FloatArray {
        held += block
        taken += block.size
        val known = taken - reach - 1 // an output needs the inputs around it
        return if (known < 0) FloatArray(0) else make(known * phases / step + 1)
    }

    /** What is left; the next block begins anew. */
    fun finish(): FloatArray {
        held += FloatArray(reach + 2)
        val rest = make((2 * taken * phases + step) / (2 * step))
        held = FloatArray(reach)
        first = -reach.toLong()
        made = 0
        taken = 0
        return rest
    }

    private fun make(until: Long): FloatArray {
        val out = FloatArray(maxOf(0, until - made).toInt())
        for (index in out.indices) {
            val at = made++ * step
            val nearest = (at / phases - first).toInt()
            if (reach == 0) {
                out[index] = held[nearest]
                continue
            }
            val weights = phase((at % phases).toInt())
            var sum = 0.0
            for (i in weights.indices) sum += weights[i] * held[nearest - reach + 1 + i]
            out[index] = sum.toFloat()
        }
        val keep = made * step / phases - reach
        if (keep > first) {
            held = held.copyOfRange(min(keep - first, held.size.toLong()).toInt(), held.size)
            first = keep
        }
        return out
    }

    /** Weights of the samples around an output that lies `which` steps behind a sample. */
    private fun phase(which: Int): DoubleArray = taps.getOrPut(which) {
        val beta = 0.1102 * (DECIBELS - 8.7)
        val whole = bessel(beta)
        val found = DoubleArray(2 * reach) {
            val x = it - reach + 1 - which.toDouble() / phases
            val part = x / reach
            val angle = PI * cutoff * x
            val window = if (abs(part) < 1) bessel(beta * sqrt(1 - part * part)) / whole else 0.0
            window * (if (angle == 0.0) 1.0 else sin(angle) / angle)
        }
        val sum = found.sum()
        DoubleArray(found.size) { found[it] / sum }
    }
}

private tailrec fun divisor(a: Int, b: Int): Int = if (b == 0) a else divisor(b, a % b)

private fun bessel(x: Double): Double { // I0
    var sum = 1.0
    var term = 1.0
    var k = 1
    while (term > 1e-18 * sum) {
        term *= (x / (2 * k)) * (x / (2 * k))
        sum += term
        k++
    }
    return sum
}
